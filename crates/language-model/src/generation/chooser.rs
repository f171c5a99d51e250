use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::batch::Batch;
use super::nucleus::{nucleus, probabilities, probability_rows};
use super::{Decoding, GenerationConfig};
use crate::LanguageModelError;

/// Chooses next tokens from logits.
pub(super) struct Chooser {
    decoding: Decoding,
    min_length: usize,
    eos: u32,
    /// One for each text.
    generators: Vec<ChaCha8Rng>,
}

impl Chooser {
    pub(super) fn new(config: &GenerationConfig, eos: u32, seeds: &[u64]) -> Self {
        Self {
            decoding: config.decoding,
            min_length: config.min_length,
            eos,
            generators: seeds.iter().map(|&seed| ChaCha8Rng::seed_from_u64(seed)).collect(),
        }
    }

    /// The next id of every row, on the host and as `[batch, 1]` on the device, for texts of `length`
    /// tokens and logits `[batch, vocabulary]`. The ids of finished rows mean nothing.
    pub(super) fn choose(
        &mut self,
        mut logits: Tensor<2>,
        length: usize,
        batch: &Batch,
    ) -> Result<(Vec<u32>, Tensor<2, Int>), LanguageModelError> {
        if length < self.min_length {
            let eos = self.eos as usize;
            logits = logits.slice_fill([0..batch.width(), eos..eos + 1], f32::NEG_INFINITY);
        }
        match self.decoding {
            Decoding::Greedy => most_probable(logits),
            Decoding::Nucleus { top_p, temperature } => {
                self.draw(probabilities(logits, temperature), top_p, batch)
            }
        }
    }

    fn draw(
        &mut self,
        probabilities: Tensor<2>,
        top_p: f64,
        batch: &Batch,
    ) -> Result<(Vec<u32>, Tensor<2, Int>), LanguageModelError> {
        let device = probabilities.device();
        let rows = probability_rows(probabilities)?;
        let mut ids = vec![self.eos; batch.width()];
        for ((id, text), row) in ids.iter_mut().zip(batch.running()).zip(rows.iter()) {
            if let Some(text) = text {
                let share = self.generators[text].random::<f64>();
                *id = at_share(&nucleus(row, top_p), share)
                    .ok_or(LanguageModelError::NotFinite { row: text })?;
            }
        }
        let next = ids.iter().map(|&id| i64::from(id)).collect::<Vec<_>>();
        let next = Tensor::from_data(TensorData::new(next, [ids.len(), 1]), &device);
        Ok((ids, next))
    }
}

fn most_probable(logits: Tensor<2>) -> Result<(Vec<u32>, Tensor<2, Int>), LanguageModelError> {
    let next = logits.argmax(1);
    let ids = next
        .clone()
        .try_into_vec_as::<u32>()
        .map_err(|source| LanguageModelError::Device { source })?;
    Ok((ids, next))
}

/// The id at which the running sum of the probabilities passes `share` in `[0, 1)`.
fn at_share(distribution: &[(u32, f64)], share: f64) -> Option<u32> {
    let mut passed = 0.0;
    for &(id, probability) in distribution {
        passed += probability;
        if share < passed {
            return Some(id);
        }
    }
    // Rounding can leave the sum a little below 1.
    distribution.last().map(|&(id, _)| id)
}

/// `id` for every row, `[rows, 1]`.
pub(super) fn same_for_all(id: u32, rows: usize, device: &Device) -> Tensor<2, Int> {
    Tensor::full([rows, 1], i64::from(id), device)
}
