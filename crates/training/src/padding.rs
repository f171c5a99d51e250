use burn::tensor::{Bool, Device, Int, Tensor};
use latent_text_language_model::TokenBatch;

use crate::order::BatchOrder;

/// The lengths to which batches of token ids are padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Padding {
    /// Longest text, in tokens.
    pub max_tokens: usize,
    /// Lengths are multiples of this, except for the longest.
    pub multiple: usize,
}

impl Padding {
    /// Token ids and the mask of real tokens, each `[batch, length]`.
    ///
    /// # Panics
    /// If a text is longer than `max_tokens`.
    pub fn tensors(
        &self,
        batch: &TokenBatch,
        device: &Device,
    ) -> (Tensor<2, Int>, Tensor<2, Bool>) {
        batch.tensors(self.length(batch.longest()), device)
    }

    /// The length of a batch whose longest text has this many tokens.
    pub fn length(&self, longest: usize) -> usize {
        longest.next_multiple_of(self.multiple).min(self.max_tokens)
    }

    /// `order` with texts of similar length together, if that saves padding.
    pub fn order(&self, order: BatchOrder, lengths: impl Iterator<Item = usize>) -> BatchOrder {
        if self.multiple >= self.max_tokens {
            return order;
        }
        order.by_length(lengths.collect::<Vec<_>>())
    }
}
