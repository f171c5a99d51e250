//! Greedy decoding and sampling: every text grows by itself.

use std::ops::ControlFlow;

use burn::tensor::{FloatDType, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::batch::{Batch, Choice};
use super::best::{logsumexp, read_both};
use super::processors::Processors;
use super::sampling::{ProbabilityRows, at_share};
use super::{Decoding, GeneratedText, NewToken, Sampling, Writing, indices, token_column};
use crate::LanguageModelError;
use crate::generation::decoder::TextDecoder;

impl<D: TextDecoder> Writing<'_, D> {
    /// One text for each of the seeds, `returns` for every source.
    pub(super) fn token_by_token(
        &self,
        seeds: &[u64],
        on_token: &mut dyn FnMut(NewToken) -> ControlFlow<()>,
    ) -> Result<Vec<GeneratedText>, LanguageModelError> {
        let config = self.config;
        let mut chooser = Chooser::new(self, seeds);
        let mut batch = Batch::new(seeds.len() * config.returns, &self.prompt, &self.eos);
        let (mut cache, mut newest) = self.read_prompt(config.returns, 1);

        for length in self.prompt.len()..config.max_length {
            if batch.is_done() {
                break;
            }
            let choices = match self.forced(length) {
                Some(id) => {
                    if length + 1 < config.max_length {
                        cache.next_logits(newest);
                    }
                    vec![Choice { id, log_probability: 0.0 }; batch.width()]
                }
                None => chooser.choose(cache.next_logits(newest), &batch)?,
            };
            let running: Vec<Option<usize>> = batch.running().collect();
            batch.push(&choices);
            for (text, choice) in running.into_iter().zip(&choices) {
                let Some(text) = text else { continue };
                if on_token(NewToken { text, id: choice.id }).is_break() {
                    return Ok(batch.into_texts(config.returns, config.with_scores));
                }
            }
            newest = token_column(choices.iter().map(|choice| choice.id), &self.device);
            if let Some(kept) = batch.drop_finished() {
                let kept = indices(&kept, &self.device);
                cache.keep_texts(&kept);
                cache.keep_sources(&kept);
                newest = newest.select(0, kept);
            }
        }
        Ok(batch.into_texts(config.returns, config.with_scores))
    }
}

/// Chooses next tokens from logits.
struct Chooser {
    processors: Processors,
    way: Way,
    with_scores: bool,
}

enum Way {
    MostProbable,
    /// One generator for each text.
    Draw(Sampling, Vec<ChaCha8Rng>),
}

impl Chooser {
    fn new<D: TextDecoder>(writing: &Writing<'_, D>, seeds: &[u64]) -> Self {
        let config = writing.config;
        let way = match config.decoding {
            Decoding::Sampling(sampling) => Way::Draw(sampling, generators(seeds, config.returns)),
            Decoding::Greedy | Decoding::Beam(_) => Way::MostProbable,
        };
        let processors = Processors::new(config, &writing.eos);
        Self { processors, way, with_scores: config.with_scores }
    }

    /// The next id of every row, from logits `[rows, vocabulary]`. The ids of finished rows mean
    /// nothing.
    fn choose(
        &mut self,
        logits: Tensor<2>,
        batch: &Batch,
    ) -> Result<Vec<Choice>, LanguageModelError> {
        let scores = self.processors.apply(logits.cast(FloatDType::F32), &batch.ids());
        match &mut self.way {
            Way::MostProbable if self.with_scores => most_probable_with_scores(scores),
            Way::MostProbable => most_probable(scores),
            Way::Draw(sampling, generators) => draw(scores, sampling, generators, batch),
        }
    }
}

/// A stream of a seed's generator for each of its texts.
fn generators(seeds: &[u64], returns: usize) -> Vec<ChaCha8Rng> {
    let generator = |seed: u64, stream: u64| {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(stream);
        generator
    };
    let of_seed = |&seed| (0..returns as u64).map(move |stream| generator(seed, stream));
    seeds.iter().flat_map(of_seed).collect()
}

fn draw(
    scores: Tensor<2>,
    sampling: &Sampling,
    generators: &mut [ChaCha8Rng],
    batch: &Batch,
) -> Result<Vec<Choice>, LanguageModelError> {
    let rows = ProbabilityRows::read(scores, sampling.temperature)?;
    let mut choices = vec![Choice { id: 0, log_probability: 0.0 }; batch.width()];
    for ((choice, text), row) in choices.iter_mut().zip(batch.running()).zip(rows.iter()) {
        if let Some(text) = text {
            let share = generators[text].random::<f64>();
            let (id, probability) = at_share(&sampling.distribution(row), share)
                .ok_or(LanguageModelError::NotFinite { row: text })?;
            *choice = Choice { id, log_probability: probability.ln() };
        }
    }
    Ok(choices)
}

fn most_probable(scores: Tensor<2>) -> Result<Vec<Choice>, LanguageModelError> {
    let ids = scores.argmax(1).try_into_vec_as::<u32>();
    let ids = ids.map_err(|source| LanguageModelError::Device { source })?;
    Ok(ids.into_iter().map(|id| Choice { id, log_probability: 0.0 }).collect())
}

fn most_probable_with_scores(scores: Tensor<2>) -> Result<Vec<Choice>, LanguageModelError> {
    let (largest, ids) = scores.clone().max_dim_with_indices(1);
    let log_probabilities = largest - logsumexp(scores);
    let (log_probabilities, ids) = read_both(log_probabilities, ids)?;
    let choice = |(id, log_probability)| Choice {
        id: id as u32,
        log_probability: f64::from(log_probability),
    };
    Ok(ids.into_iter().zip(log_probabilities).map(choice).collect())
}
