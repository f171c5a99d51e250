use std::ops::ControlFlow;

use latent_text_autoencoder::Latents;
use latent_text_conditioning::{best_of, minimum_bayes_risk};

use crate::batch::Batch;
use crate::sampling::Run;
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
    /// model was not trained for, sources that are missing or too long, lengths out of range; settings
    /// that no sampler can follow; `DiffusionError::Stopped`.
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
        let run = Run {
            plan: self.plan(request)?,
            conditions,
            lengths: self.lengths(request)?,
            guidance,
            seed: request.seed,
        };
        let decoding = request.decoding.as_ref().unwrap_or(&self.config.decoding);
        let first_only = matches!(rule, Rule::First) && !request.with_candidates;
        let candidates = if first_only { 1 } else { request.candidates };
        let at_once = (request.batch_size / candidates).max(1);

        let mut generated = Vec::new();
        for first in (0..request.count).step_by(at_once) {
            let batch = Batch { first, texts: at_once.min(request.count - first), candidates };
            let conditions = self.conditions_of(batch, &run.conditions)?;
            let lengths = self.lengths_of(batch, &run.lengths, &conditions)?;
            let x0 = self.sample(&run, batch, &conditions, &lengths, &mut on_step)?;
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
                    length: self.config.lengths.is_some().then(|| lengths[row]),
                    seed: request.seed,
                    score: scores.map(|scores| scores[chosen]),
                    candidates: if request.with_candidates {
                        texts[rows].to_vec()
                    } else {
                        Vec::new()
                    },
                    latents: match request.with_latents {
                        true => Some(latent_vectors(&x0, row)?),
                        false => None,
                    },
                });
            }
        }
        Ok(generated)
    }

    /// The scores that candidates are chosen by, if they are.
    fn scores(
        &self,
        rule: &mut Rule<'_>,
        x0: &Latents,
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

fn latent_vectors(x0: &Latents, row: usize) -> Result<Vec<Vec<f32>>, GenerationError> {
    let [_, _, dim] = x0.values.dims();
    let values = x0.clone().of_texts(row..row + 1).real_values()?.concat();
    Ok(values.chunks(dim).map(<[f32]>::to_vec).collect())
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
