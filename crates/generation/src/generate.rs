use std::ops::ControlFlow;

use latent_text_autoencoder::Latents;
use latent_text_conditioning::{best_of, coverage, minimum_bayes_risk};
use latent_text_diffusion::Guidance;
use latent_text_language_model::GenerationConfig;

use crate::batch::Batch;
use crate::conditions::TextConditions;
use crate::guiding::Wrap;
use crate::own_guidance::OwnGuidance;
use crate::sampling::{Rows, Run};
use crate::{Choice, Generated, GenerationError, GuidedRows, LatentText, Request, StepPreview};

impl LatentText {
    /// Samples latents for the request and decodes them; text `i` of a seed is the same whatever the
    /// count, and so is each of its candidates.
    ///
    /// `on_step` sees every denoising step and stops the generation by returning
    /// [`ControlFlow::Break`].
    ///
    /// # Errors
    /// [`GenerationError::Request`] for a number out of its range; an unknown label, conditions that the
    /// model was not trained for, sources that are missing or too long, lengths out of range; settings
    /// that no sampler can follow; `DiffusionError::Stopped`.
    pub fn generate(
        &self,
        request: &Request,
        on_step: impl FnMut(StepPreview<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<Generated>, GenerationError> {
        self.run(request, Rule::from(request.choice), None, on_step)
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
        self.run(request, Rule::Mbr(Box::new(similarity)), None, on_step)
    }

    /// [`generate`](Self::generate) with guidance of the caller's, such as
    /// [`ScoreGradient`](latent_text_diffusion::guidance::ScoreGradient), by the gradient of a score.
    ///
    /// `wrap` gets the guidance that the request asks for, or else the model's own, and the rows that it
    /// is to guide; it answers with what guides them: most often something around what it got. It is
    /// called anew for each batch, and where latents vary in number for the rows of each length, so that
    /// no guidance sees padding.
    ///
    /// Guidance sees latents in the space that the diffusion runs in, where those of
    /// [`encode`](Self::encode) lie: `z` of a
    /// [`GuidanceContext`](latent_text_diffusion::guidance::GuidanceContext) is
    /// `signal * x0 + noise * eps`, `[rows, latents, dim]`, and the gradient of a score is that with
    /// respect to this noised `z`, not to the clean latents. The prediction to lead away from is made as
    /// for the request's guidance: by the weaker denoiser if that is autoguidance, else without class and
    /// source.
    ///
    /// The crate's page has an example, under Guidance.
    ///
    /// # Errors
    /// Those of `generate`, and what the guidance's own check and the guidance answer;
    /// [`GenerationError::NothingToGuide`] and [`GenerationError::NullUntrained`] if it needs predictions
    /// without a condition where the texts have none, or of a model that was not trained to make them;
    /// `DiffusionError::GuidanceShape` if it answers with another shape;
    /// [`GenerationError::Misguided`] if it leads to latents that are no finite numbers.
    pub fn generate_with_guidance<'a, G: Guidance<3> + 'a>(
        &self,
        request: &Request,
        mut wrap: impl FnMut(Box<dyn Guidance<3>>, &GuidedRows) -> G + 'a,
        on_step: impl FnMut(StepPreview<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<Generated>, GenerationError> {
        let mut wrap = move |inner: Box<dyn Guidance<3>>, rows: &GuidedRows| {
            Box::new(OwnGuidance(wrap(inner, rows))) as Box<dyn Guidance<3> + 'a>
        };
        self.run(request, Rule::from(request.choice), Some(&mut wrap), on_step)
    }

    fn run<'a>(
        &self,
        request: &Request,
        mut rule: Rule<'_>,
        mut wrap: Option<&mut Wrap<'a>>,
        mut on_step: impl FnMut(StepPreview<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<Generated>, GenerationError> {
        request.check()?;
        let conditions = self.conditions(request)?;
        let guidance = self.guidance(request, conditions.any())?;
        let run = Run {
            plan: self.plan(request)?,
            conditions,
            lengths: self.lengths(request)?,
            guidance,
            seed: request.seed,
        };
        let mut networks = self.networks(&run, request.graphs)?;
        let decoding = self.decoding(request);
        let first_only = matches!(rule, Rule::First) && !request.with_candidates;
        let candidates = if first_only { 1 } else { request.candidates };
        let at_once = (request.batch_size / candidates).max(1);

        let mut generated = Vec::new();
        for first in (0..request.count).step_by(at_once) {
            let batch = Batch { first, texts: at_once.min(request.count - first), candidates };
            let conditions = self.conditions_of(batch, &run.conditions)?;
            let lengths = self.lengths_of(batch, &run.lengths, &conditions)?;
            let guidance =
                run.guidance.of_batch(batch, &lengths, self.device(), wrap.as_deref_mut())?;
            let rows = Rows { batch, conditions: &conditions, lengths: &lengths };
            let x0 = self.sample(&run, &mut networks, rows, &*guidance, &mut on_step)?;
            if wrap.is_some() {
                check_finite(batch, &x0)?;
            }
            let seeds: Vec<u64> =
                batch.streams().map(|stream| decoding_seed(request.seed, stream)).collect();
            let latents = self.denormalise(x0.clone());
            let texts = self.autoencoder.decode_latents(latents, &decoding, &seeds)?;
            let scores = self.scores(&mut rule, batch, &run.conditions, &x0, &texts)?;
            let vectors = request.with_latents.then(|| x0.real_values()).transpose()?;
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
                    length: self.config.lengths.is_some().then(|| lengths[row]),
                    seed: request.seed,
                    score: scores.map(|scores| scores[chosen]),
                    candidates: if request.with_candidates {
                        texts[rows].to_vec()
                    } else {
                        Vec::new()
                    },
                    latents: vectors.as_ref().map(|vectors| {
                        let dim = self.autoencoder.latent_dim();
                        vectors[row].chunks(dim).map(<[f32]>::to_vec).collect()
                    }),
                });
            }
        }
        Ok(generated)
    }

    /// How the request's latents are decoded.
    fn decoding(&self, request: &Request) -> GenerationConfig {
        let wanted = request.decoding.as_ref().unwrap_or(&self.config.decoding);
        GenerationConfig { graphs: wanted.graphs && request.graphs, ..wanted.clone() }
    }

    /// The scores that candidates are chosen by, if they are.
    fn scores(
        &self,
        rule: &mut Rule<'_>,
        batch: Batch,
        conditions: &TextConditions<'_>,
        x0: &Latents,
        texts: &[String],
    ) -> Result<Option<Vec<f64>>, GenerationError> {
        Ok(match rule {
            Rule::First => None,
            Rule::Mbr(similarity) => {
                let of_text = |texts| minimum_bayes_risk(texts, &mut *similarity);
                Some(texts.chunks(batch.candidates).flat_map(of_text).collect())
            }
            Rule::Coverage => {
                let rows = batch.text_of_rows().zip(texts);
                let score = |(place, text): (usize, &String)| {
                    coverage(conditions.source(place).unwrap_or_default(), text)
                };
                Some(rows.map(score).collect())
            }
            Rule::Likelihood => {
                let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                Some(self.log_likelihoods(x0.clone(), &texts)?)
            }
        })
    }
}

type SimilarityOf<'a> = dyn FnMut(&str, &str) -> f64 + 'a;

/// [`Choice`] with the similarity ready for use.
enum Rule<'a> {
    First,
    Coverage,
    Mbr(Box<SimilarityOf<'a>>),
    Likelihood,
}

impl From<Choice> for Rule<'_> {
    fn from(choice: Choice) -> Self {
        match choice {
            Choice::First => Self::First,
            Choice::Coverage => Self::Coverage,
            Choice::Mbr(similarity) => {
                Self::Mbr(Box::new(move |candidate, other| similarity.of(candidate, other)))
            }
            Choice::Likelihood => Self::Likelihood,
        }
    }
}

fn check_finite(batch: Batch, x0: &Latents) -> Result<(), GenerationError> {
    let values = x0.real_values()?;
    let finite = |row: &Vec<f32>| row.iter().all(|value| value.is_finite());
    match batch.text_of_rows().zip(&values).find(|(_, row)| !finite(row)) {
        None => Ok(()),
        Some((text, _)) => Err(GenerationError::Misguided { text }),
    }
}

/// The seed of one text's decoding, apart from its neighbours'.
fn decoding_seed(seed: u64, stream: u64) -> u64 {
    seed.wrapping_add(stream.wrapping_mul(0x9e37_79b9_7f4a_7c15))
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
