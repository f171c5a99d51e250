//! What sampling draws from, on the host.

use burn::tensor::{FloatDType, Tensor, activation};

use super::config::Sampling;
use super::processors::{FORBIDDEN, Processors};
use super::{Decoding, GenerationConfig};
use crate::LanguageModelError;

/// The distributions that the next tokens are drawn from: for every row of logits
/// `[batch, vocabulary]`, the ids that can come and their probabilities, which sum to 1.
///
/// `previous` has the ids of every row's text so far, from the start token on, and `eos` the end
/// tokens. Forced tokens and prefixes are not looked at. Greedy decoding and beam search draw nothing:
/// for these, the distribution is that of sampling with its default settings.
///
/// # Errors
/// If a setting is outside its range, if there is not one text for each row, if the logits are not
/// finite, or if the device fails.
pub fn next_token_distributions(
    logits: Tensor<2>,
    previous: &[Vec<u32>],
    config: &GenerationConfig,
    eos: &[u32],
) -> Result<Vec<Vec<(u32, f64)>>, LanguageModelError> {
    let [rows, vocabulary] = logits.dims();
    config.validate(None, vocabulary)?;
    if previous.len() != rows {
        return Err(LanguageModelError::Setting {
            setting: "previous",
            problem: format!("there are {} texts for {rows} rows of logits", previous.len()),
        });
    }
    let sampling = match config.decoding {
        Decoding::Sampling(sampling) => sampling,
        Decoding::Greedy | Decoding::Beam(_) => Sampling::default(),
    };
    let texts: Vec<&[u32]> = previous.iter().map(Vec::as_slice).collect();
    let scores = Processors::new(config, eos).apply(logits.cast(FloatDType::F32), &texts);
    let probabilities = ProbabilityRows::read(scores, sampling.temperature)?;
    let distribution = |(row, probabilities)| {
        let kept = sampling.distribution(probabilities);
        if kept.is_empty() { Err(LanguageModelError::NotFinite { row }) } else { Ok(kept) }
    };
    probabilities.iter().enumerate().map(distribution).collect()
}

/// Probabilities on the host.
pub(super) struct ProbabilityRows {
    values: Vec<f32>,
    vocabulary: usize,
}

impl ProbabilityRows {
    /// Those of scores `[rows, vocabulary]`.
    pub(super) fn read(scores: Tensor<2>, temperature: f64) -> Result<Self, LanguageModelError> {
        let [_, vocabulary] = scores.dims();
        // A low temperature must not make an infinity of what forbids a token.
        let scores = if temperature == 1.0 { scores } else { scores / temperature };
        let probabilities = activation::softmax(scores.clamp_min(FORBIDDEN), 1);
        let values = probabilities
            .try_into_vec_as::<f32>()
            .map_err(|source| LanguageModelError::Device { source })?;
        Ok(Self { values, vocabulary })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks(self.vocabulary)
    }
}

impl Sampling {
    /// The ids that can be drawn and their probabilities; empty if these are not numbers.
    pub(super) fn distribution(&self, probabilities: &[f32]) -> Vec<(u32, f64)> {
        let mut kept: Vec<(u32, f64)> = (0..)
            .zip(probabilities.iter().map(|&probability| f64::from(probability)))
            .filter(|&(_, probability)| probability > 0.0)
            .collect();
        if let Some(top_k) = self.top_k {
            keep_most_probable(&mut kept, top_k);
        }
        if self.top_p < 1.0 {
            keep_nucleus(&mut kept, self.top_p);
        }
        if self.typical_p < 1.0 {
            keep_typical(&mut kept, self.typical_p);
        }
        normalise(&mut kept);
        kept
    }
}

/// With all that are as probable as the last one kept.
fn keep_most_probable(kept: &mut Vec<(u32, f64)>, count: usize) {
    if count < kept.len() {
        let mut sorted: Vec<f64> = kept.iter().map(|&(_, probability)| probability).collect();
        let (_, &mut least, _) = sorted.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a));
        kept.retain(|&(_, probability)| probability >= least);
        normalise(kept);
    }
}

fn keep_nucleus(kept: &mut Vec<(u32, f64)>, share: f64) {
    // All ids below this probability together hold less than `1 - share`, so none of them is kept: only
    // a few are left to sort.
    let floor = (1.0 - share) / kept.len() as f64;
    kept.retain(|&(_, probability)| probability >= floor);
    kept.sort_unstable_by(|(a_id, a), (b_id, b)| b.total_cmp(a).then(a_id.cmp(b_id)));
    kept.truncate(fewest_that_hold(share, kept.iter().map(|&(_, probability)| probability)));
    normalise(kept);
}

fn keep_typical(kept: &mut Vec<(u32, f64)>, share: f64) {
    let entropy: f64 = kept.iter().map(|&(_, probability)| -probability * probability.ln()).sum();
    let distance = |probability: f64| (-probability.ln() - entropy).abs();
    kept.sort_by(|(_, a), (_, b)| distance(*a).total_cmp(&distance(*b)));
    let count = fewest_that_hold(share, kept.iter().map(|&(_, probability)| probability));
    let Some(&(_, last)) = kept.get(count.saturating_sub(1)) else { return };
    kept.retain(|&(_, probability)| distance(probability) <= distance(last));
}

fn fewest_that_hold(share: f64, probabilities: impl Iterator<Item = f64>) -> usize {
    let mut held = 0.0;
    probabilities
        .take_while(|probability| {
            let needed = held < share;
            held += probability;
            needed
        })
        .count()
}

fn normalise(kept: &mut [(u32, f64)]) {
    let total: f64 = kept.iter().map(|(_, probability)| probability).sum();
    kept.iter_mut().for_each(|(_, probability)| *probability /= total);
}

/// The place at which the running sum of the probabilities passes `share` in `[0, 1)`.
pub(super) fn at_share(distribution: &[(u32, f64)], share: f64) -> Option<(u32, f64)> {
    let mut passed = 0.0;
    for &(id, probability) in distribution {
        passed += probability;
        if share < passed {
            return Some((id, probability));
        }
    }
    // Rounding can leave the sum a little below 1.
    distribution.last().copied()
}
