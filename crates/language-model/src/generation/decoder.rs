use burn::tensor::{Bool, Int, Tensor};

use crate::bart::DecoderCache;

/// A network that writes texts token by token from encoder states.
pub(crate) trait TextDecoder {
    /// An empty cache for decoding from encoder states `[batch, source, d_model]`, of which those at
    /// `encoder_mask` `[batch, source]` may be seen.
    fn start_cache(
        &self,
        encoder_states: Tensor<3>,
        encoder_mask: Option<Tensor<2, Bool>>,
    ) -> DecoderCache;

    /// One step of cached decoding: shows the decoder the next ids `[batch, 1]` of every row and
    /// returns its state `[batch, 1, d_model]` behind them.
    fn step(&self, ids: Tensor<2, Int>, cache: &mut DecoderCache) -> Tensor<3>;

    /// `[batch, length, d_model]` to `[batch, length, vocabulary]`.
    fn logits(&self, x: Tensor<3>) -> Tensor<3>;

    fn text_ends(&self) -> TextEnds;

    /// Number of positions that texts may have.
    fn max_positions(&self) -> usize;
}

/// The ids that begin and end generated texts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TextEnds {
    pub start: u32,
    pub eos: u32,
    pub forced_bos: Option<u32>,
    pub forced_eos: Option<u32>,
}
