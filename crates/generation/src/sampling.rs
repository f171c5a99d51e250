use std::ops::ControlFlow;

use burn::tensor::{Bool, Int, Tensor};
use latent_text_autoencoder::Latents;
use latent_text_denoiser::{Conditions, DenoisingNetwork, NetworkTime, SelfCondition};
use latent_text_diffusion::sampler::Pass;
use latent_text_diffusion::{
    DenoiserInput, Guidance, SampleNoise, SamplerPlan, StepReport, sample_guided,
};

use crate::batch::Batch;
use crate::conditions::{BatchConditions, TextConditions};
use crate::guiding::CheckedGuidance;
use crate::lengths::RowLengths;
use crate::masking::{RowNoise, masked};
use crate::{GenerationError, LatentText, Request, StepPreview};

/// What is the same for all batches of a request.
pub(crate) struct Run<'a> {
    pub(crate) plan: SamplerPlan,
    pub(crate) conditions: TextConditions<'a>,
    pub(crate) lengths: RowLengths<'a>,
    pub(crate) guidance: CheckedGuidance,
    pub(crate) seed: u64,
}

/// A network and what it is told in every step.
struct Network<'a> {
    denoiser: &'a DenoisingNetwork,
    conditions: Conditions,
    /// Number of noise levels of a discrete schedule.
    entries: Option<usize>,
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
    /// each row has as many as `lengths` says, led by `guidance`.
    pub(crate) fn sample(
        &self,
        run: &Run<'_>,
        batch: Batch,
        conditions: &BatchConditions,
        lengths: &[usize],
        guidance: &dyn Guidance<3>,
        on_step: &mut impl FnMut(StepPreview<'_>) -> ControlFlow<()>,
    ) -> Result<Latents, GenerationError> {
        let (mask, longest) = self.mask_of(lengths)?;
        let mut noise = RowNoise {
            noise: SampleNoise::new(run.seed, batch.streams()),
            max_latents: self.autoencoder.max_latents(),
            mask: mask.clone(),
        };
        self.check_second_prediction(run, guidance)?;
        let [conditional, unconditional] = self.networks(run, conditions, &mask)?;
        let x0 = sample_guided(
            &run.plan,
            [batch.rows(), longest, self.autoencoder.latent_dim()],
            &mut noise,
            self.device(),
            guidance,
            |input, pass| match pass {
                Pass::Conditional => conditional.predict(input),
                Pass::Unconditional => unconditional.predict(input),
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

    /// What makes the conditional prediction, and what makes the one that guidance leads away from: a
    /// weaker denoiser under the same conditions, or the denoiser without any.
    fn networks(
        &self,
        run: &Run<'_>,
        conditions: &BatchConditions,
        mask: &Option<Tensor<2, Bool>>,
    ) -> Result<[Network<'_>; 2], GenerationError> {
        let entries = self.config.schedule.init()?.table_len();
        let alone = || Conditions { mask: mask.clone(), ..Conditions::default() };
        let conditioned = |denoiser| Network {
            denoiser,
            conditions: Conditions {
                classes: conditions.classes.clone(),
                source: conditions.source.clone().map(|source| denoiser.read_source(source)),
                ..alone()
            },
            entries,
        };
        let weaker = self.weaker_denoiser.as_ref().filter(|_| run.guidance.by_weaker());
        let second = match weaker {
            Some(weaker) => conditioned(weaker),
            None => Network { denoiser: &self.denoiser, conditions: alone(), entries },
        };
        Ok([conditioned(&self.denoiser), second])
    }
}

impl Network<'_> {
    /// The prediction, with zeros where there is padding.
    fn predict(&self, input: DenoiserInput) -> Tensor<3> {
        let DenoiserInput { z, alpha, time, self_cond, .. } = input;
        let step = self.entries.map(|entries| nearest_entry(time, entries, &z));
        let self_cond = self_cond.map(|estimate| SelfCondition { estimate, present: None });
        let conditions = Conditions { self_cond, ..self.conditions.clone() };
        // Equal for all rows, so that one is enough.
        let alpha = alpha.slice(0..1);
        let output = self.denoiser.forward(z, NetworkTime { alpha, step }, conditions);
        masked(output, self.conditions.mask.as_ref())
    }
}

/// The entry of a noise table of so many that is nearest to a time, one for all rows of `z`.
fn nearest_entry(time: f64, entries: usize, z: &Tensor<3>) -> Tensor<1, Int> {
    let entry = (time * (entries - 1) as f64).round() as i64;
    Tensor::full([1], entry, &z.device())
}
