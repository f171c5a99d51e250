use burn::tensor::{FloatDType, Tensor, activation};

use crate::LanguageModelError;

/// The distributions that nucleus decoding draws from: for every row of logits
/// `[batch, vocabulary]`, the kept ids with their probabilities, which sum to 1.
///
/// The kept ids of a row are the most probable ones, as few as hold `top_p` together, after the
/// logits were divided by `temperature`.
///
/// # Errors
/// If the device fails.
pub fn nucleus_distributions(
    logits: Tensor<2>,
    top_p: f64,
    temperature: f64,
) -> Result<Vec<Vec<(u32, f64)>>, LanguageModelError> {
    let rows = probability_rows(probabilities(logits, temperature))?;
    Ok(rows.iter().map(|row| nucleus(row, top_p)).collect())
}

/// In f32.
pub(super) fn probabilities(logits: Tensor<2>, temperature: f64) -> Tensor<2> {
    activation::softmax(logits.cast(FloatDType::F32) / temperature, 1)
}

/// Probabilities on the host.
pub(super) struct ProbabilityRows {
    values: Vec<f32>,
    vocabulary: usize,
}

impl ProbabilityRows {
    pub(super) fn iter(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks(self.vocabulary)
    }
}

pub(super) fn probability_rows(
    probabilities: Tensor<2>,
) -> Result<ProbabilityRows, LanguageModelError> {
    let [_, vocabulary] = probabilities.dims();
    let values = probabilities
        .try_into_vec_as::<f32>()
        .map_err(|source| LanguageModelError::Device { source })?;
    Ok(ProbabilityRows { values, vocabulary })
}

/// Empty if the probabilities are not numbers.
pub(super) fn nucleus(probabilities: &[f32], top_p: f64) -> Vec<(u32, f64)> {
    // All ids below this one together hold less than `1 - top_p`, so none of them is kept: only a
    // few are left to sort.
    let floor = (1.0 - top_p) / probabilities.len() as f64;
    let mut kept: Vec<(u32, f64)> = (0..)
        .zip(probabilities.iter().map(|&probability| f64::from(probability)))
        .filter(|&(_, probability)| probability > 0.0 && probability >= floor)
        .collect();
    if top_p < 1.0 {
        kept.sort_unstable_by(|(a_id, a), (b_id, b)| b.total_cmp(a).then(a_id.cmp(b_id)));
        let mut held = 0.0;
        let count = kept
            .iter()
            .take_while(|(_, probability)| {
                let needed = held < top_p;
                held += probability;
                needed
            })
            .count();
        kept.truncate(count);
    }
    let total: f64 = kept.iter().map(|(_, probability)| probability).sum();
    kept.iter_mut().for_each(|(_, probability)| *probability /= total);
    kept
}
