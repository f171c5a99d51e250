use std::ops::ControlFlow;

use latent_text_autoencoder::Latents;
use latent_text_diffusion::sampler::Pass;
use latent_text_diffusion::{Guidance, SampleNoise, SamplerPlan, StepReport, sample_guided};

use crate::batch::Batch;
use crate::conditions::{BatchConditions, TextConditions};
use crate::guiding::CheckedGuidance;
use crate::lengths::RowLengths;
use crate::masking::RowNoise;
use crate::networks::Networks;
use crate::{GenerationError, LatentText, Request, StepPreview};

/// What is the same for all batches of a request.
pub(crate) struct Run<'a> {
    pub(crate) plan: SamplerPlan,
    pub(crate) conditions: TextConditions<'a>,
    pub(crate) lengths: RowLengths<'a>,
    pub(crate) guidance: CheckedGuidance,
    pub(crate) seed: u64,
}

/// A batch and what its rows are told.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) batch: Batch,
    pub(crate) conditions: &'a BatchConditions,
    /// Number of latents of each row.
    pub(crate) lengths: &'a [usize],
}

impl LatentText {
    pub(crate) fn plan(&self, request: &Request) -> Result<SamplerPlan, GenerationError> {
        let sampling = &self.config.sampling;
        let rescale_x0 = request.rescale_x0.unwrap_or(sampling.rescale_x0);
        if rescale_x0 && !self.autoencoder.is_l2_normalised() {
            return Err(GenerationError::Rescale);
        }
        let plan = SamplerPlan::with_sampler(
            &self.config.schedule.init()?,
            request.sampler.unwrap_or(sampling.sampler).sampler(),
            self.config.prediction,
            request.spacing.as_ref().unwrap_or(&sampling.spacing),
            request.steps.unwrap_or(sampling.steps),
        )?;
        Ok(plan.rescale_x0(rescale_x0))
    }

    /// The latents of a batch in the space that the diffusion runs in, `[rows, latents, dim]`, of which
    /// each row has as many as its length says, led by `guidance`.
    pub(crate) fn sample(
        &self,
        run: &Run<'_>,
        networks: &mut Networks<'_>,
        rows: Rows<'_>,
        guidance: &dyn Guidance<3>,
        on_step: &mut impl FnMut(StepPreview<'_>) -> ControlFlow<()>,
    ) -> Result<Latents, GenerationError> {
        let Rows { batch, conditions, lengths } = rows;
        let (mask, longest) = self.mask_of(lengths)?;
        let mut noise = RowNoise {
            noise: SampleNoise::new(run.seed, batch.streams()),
            max_latents: self.autoencoder.max_latents(),
            mask: mask.clone(),
        };
        self.check_second_prediction(run, guidance)?;
        networks.tell(conditions, mask.as_ref());
        let x0 = sample_guided(
            &run.plan,
            [batch.rows(), longest, self.autoencoder.latent_dim()],
            &mut noise,
            self.device(),
            guidance,
            |input, pass| match pass {
                Pass::Conditional => networks.first.predict(input),
                Pass::Unconditional => networks.second.predict(input),
            },
            |report: StepReport<'_>| {
                let x0 = Latents { values: report.x0.clone(), mask: mask.clone() };
                on_step(StepPreview {
                    first: batch.first,
                    texts: batch.texts,
                    candidates: batch.candidates,
                    step: report.step,
                    steps: report.steps,
                    x0: &x0,
                })
            },
        )?;
        Ok(Latents { values: x0, mask })
    }

    /// Checks that there is a prediction which `guidance` can lead away from, if it ever needs one.
    fn check_second_prediction(
        &self,
        run: &Run<'_>,
        guidance: &dyn Guidance<3>,
    ) -> Result<(), GenerationError> {
        let mut step = 0;
        let needed = run.plan.stages().iter().any(|stage| {
            let needed = guidance.needs_unconditional(stage.at.level, step);
            step += usize::from(stage.ends_step);
            needed
        });
        if run.guidance.by_weaker() || !needed {
            return Ok(());
        }
        if !run.conditions.any() {
            return Err(self.nothing_to_guide());
        }
        if !self.config.null_trained {
            return Err(GenerationError::NullUntrained {
                needed_by: "guidance needs that; take one that needs no second prediction",
            });
        }
        Ok(())
    }
}
