use std::ops::ControlFlow;

use burn::tensor::Tensor;
use latent_text_conditioning::{best_of, minimum_bayes_risk};
use latent_text_denoiser::{Conditions, SelfCondition};
use latent_text_diffusion::sampler::Pass;
use latent_text_diffusion::{DenoiserInput, SampleNoise, SamplerPlan, StepReport, sample_guided};

use crate::batch::Batch;
use crate::conditions::{CheckedGuidance, TextConditions};
use crate::{Choice, Generated, GenerationError, LatentText, Request, StepPreview};

impl LatentText {
    /// Samples latents for the request and decodes them; text `i` of a seed is the same whatever the
    /// count, and so is each of its candidates.
    ///
    /// `on_step` sees every denoising step and stops the generation by returning
    /// [`ControlFlow::Break`].
    ///
    /// # Errors
    /// [`GenerationError::Request`] for a number out of its range; an unknown label, conditions that the
    /// model was not trained for, sources that are missing or too long; settings that no sampler can
    /// follow; `DiffusionError::Stopped`.
    pub fn generate(
        &self,
        request: &Request,
        on_step: impl FnMut(StepPreview<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<Generated>, GenerationError> {
        self.run(request, Rule::from(request.choice), on_step)
    }

    /// [`generate`](Self::generate) with the minimum-Bayes-risk choice by a similarity of the caller's
    /// in place of [`Request::choice`]. `similarity` gets a candidate and another one that stands for
    /// the reference; more is better.
    ///
    /// # Errors
    /// Those of `generate`.
    pub fn generate_by_similarity(
        &self,
        request: &Request,
        similarity: impl FnMut(&str, &str) -> f64,
        on_step: impl FnMut(StepPreview<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<Generated>, GenerationError> {
        self.run(request, Rule::Mbr(Box::new(similarity)), on_step)
    }

    fn run(
        &self,
        request: &Request,
        mut rule: Rule<'_>,
        mut on_step: impl FnMut(StepPreview<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<Generated>, GenerationError> {
        request.check()?;
        let conditions = self.conditions(request)?;
        let guidance = self.guidance(request, conditions.any())?;
        let run = Run { plan: self.plan(request)?, conditions, guidance, seed: request.seed };
        let decoding = request.decoding.as_ref().unwrap_or(&self.config.decoding);
        let first_only = matches!(rule, Rule::First) && !request.with_candidates;
        let candidates = if first_only { 1 } else { request.candidates };
        let at_once = (request.batch_size / candidates).max(1);

        let mut generated = Vec::new();
        for first in (0..request.count).step_by(at_once) {
            let batch = Batch { first, texts: at_once.min(request.count - first), candidates };
            let x0 = self.sample(&run, batch, &mut on_step)?;
            let seeds: Vec<u64> =
                batch.streams().map(|stream| decoding_seed(request.seed, stream)).collect();
            let latents = self.denormalise(x0.clone());
            let texts = self.autoencoder.decode_latents(latents, decoding, &seeds)?;
            let scores = self.scores(&mut rule, &x0, &texts, candidates)?;
            for text in batch.texts() {
                let rows = (text - first) * candidates..(text - first + 1) * candidates;
                let scores = scores.as_ref().map(|scores| &scores[rows.clone()]);
                let chosen = scores.and_then(best_of).unwrap_or(0);
                let row = rows.start + chosen;
                generated.push(Generated {
                    index: text,
                    text: texts[row].clone(),
                    label: run.conditions.label(text).map(str::to_string),
                    source: run.conditions.source(text).map(str::to_string),
                    seed: request.seed,
                    score: scores.map(|scores| scores[chosen]),
                    candidates: if request.with_candidates {
                        texts[rows].to_vec()
                    } else {
                        Vec::new()
                    },
                    latents: request.with_latents.then(|| latent_vectors(&x0, row)),
                });
            }
        }
        Ok(generated)
    }

    fn plan(&self, request: &Request) -> Result<SamplerPlan, GenerationError> {
        let sampling = &self.config.sampling;
        let schedule = self.config.schedule.init()?;
        let plan = SamplerPlan::new(
            &schedule,
            request.sampler.unwrap_or(sampling.sampler),
            self.config.prediction,
            request.steps.unwrap_or(sampling.steps),
        )?;
        Ok(plan.rescale_x0(request.rescale_x0.unwrap_or(sampling.rescale_x0)))
    }

    /// The latents of a batch in the space that the diffusion runs in, `[rows, latents, dim]`.
    fn sample(
        &self,
        run: &Run<'_>,
        batch: Batch,
        on_step: &mut impl FnMut(StepPreview<'_>) -> ControlFlow<()>,
    ) -> Result<Tensor<3>, GenerationError> {
        let shape = &self.autoencoder.config;
        let mut noise = SampleNoise::new(run.seed, batch.streams());
        let classes = self.classes_of(batch, &run.conditions);
        let source = self.sources_of(batch, &run.conditions)?;
        let weaker = self.weaker_denoiser.as_ref().filter(|_| run.guidance.by_weaker);
        let [conditional, unconditional] = [Some(&self.denoiser), weaker].map(|denoiser| {
            // Without a weaker denoiser the second prediction is that without any condition.
            denoiser.map_or_else(Conditions::default, |denoiser| Conditions {
                classes: classes.clone(),
                source: source.clone().map(|source| denoiser.read_source(source)),
                ..Conditions::default()
            })
        });
        let x0 = sample_guided(
            &run.plan,
            [batch.rows(), shape.latents, shape.latent_dim],
            &mut noise,
            self.device(),
            &*run.guidance.guidance,
            |DenoiserInput { z, alpha, self_cond, .. }, pass| {
                let (denoiser, conditions) = match pass {
                    Pass::Conditional => (&self.denoiser, &conditional),
                    Pass::Unconditional => (weaker.unwrap_or(&self.denoiser), &unconditional),
                };
                let self_cond = self_cond.map(|estimate| SelfCondition { estimate, present: None });
                denoiser.forward(z, alpha, Conditions { self_cond, ..conditions.clone() })
            },
            |report: StepReport<'_>| {
                on_step(StepPreview {
                    first: batch.first,
                    texts: batch.texts,
                    candidates: batch.candidates,
                    step: report.step,
                    steps: report.steps,
                    x0: report.x0,
                })
            },
        )?;
        Ok(x0)
    }

    /// The scores that candidates are chosen by, if they are.
    fn scores(
        &self,
        rule: &mut Rule<'_>,
        x0: &Tensor<3>,
        texts: &[String],
        candidates: usize,
    ) -> Result<Option<Vec<f64>>, GenerationError> {
        Ok(match rule {
            Rule::First => None,
            Rule::Mbr(similarity) => {
                let of_text = |texts| minimum_bayes_risk(texts, &mut *similarity);
                Some(texts.chunks(candidates).flat_map(of_text).collect())
            }
            Rule::Likelihood => {
                let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                Some(self.log_likelihoods(x0.clone(), &texts)?)
            }
        })
    }
}

/// What is the same for all batches of a request.
struct Run<'a> {
    plan: SamplerPlan,
    conditions: TextConditions<'a>,
    guidance: CheckedGuidance,
    seed: u64,
}

type SimilarityOf<'a> = dyn FnMut(&str, &str) -> f64 + 'a;

/// [`Choice`] with the similarity ready for use.
enum Rule<'a> {
    First,
    Mbr(Box<SimilarityOf<'a>>),
    Likelihood,
}

impl From<Choice> for Rule<'_> {
    fn from(choice: Choice) -> Self {
        match choice {
            Choice::First => Self::First,
            Choice::Mbr(similarity) => {
                Self::Mbr(Box::new(move |candidate, other| similarity.of(candidate, other)))
            }
            Choice::Likelihood => Self::Likelihood,
        }
    }
}

/// The seed of one text's decoding, apart from its neighbours'.
fn decoding_seed(seed: u64, stream: u64) -> u64 {
    seed.wrapping_add(stream.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn latent_vectors(x0: &Tensor<3>, row: usize) -> Vec<Vec<f32>> {
    let dim = x0.dims()[2];
    let values: Vec<f32> = x0.clone().narrow(0, row, 1).to_data().iter().collect();
    values.chunks(dim).map(<[f32]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_candidate_is_decoded_with_a_seed_of_its_own() {
        let batch = Batch { first: 3, texts: 50, candidates: 20 };
        let seeds: Vec<u64> = batch.streams().map(|stream| decoding_seed(7, stream)).collect();
        assert_eq!(seeds.iter().collect::<HashSet<_>>().len(), batch.rows());
    }
}
