use burn::tensor::{Bool, Int, Tensor};

use crate::bart::DecoderCache;

/// A network that writes texts token by token from encoder states.
pub(crate) trait TextDecoder {
    /// An empty cache for decoding from encoder states `[sources, length, d_model]`, of which those at
    /// `encoder_mask` `[sources, length]` may be seen; one text for each source.
    fn start_cache(
        &self,
        encoder_states: Tensor<3>,
        encoder_mask: Option<Tensor<2, Bool>>,
    ) -> DecoderCache;

    /// One step of cached decoding: shows the decoder the next ids `[texts, 1]` of every text and
    /// returns its state `[texts, 1, d_model]` behind them. The texts of one source follow each other,
    /// and all sources have as many.
    fn step(&self, ids: Tensor<2, Int>, cache: &mut DecoderCache) -> Tensor<3>;

    /// `[batch, length, d_model]` to `[batch, length, vocabulary]`.
    fn logits(&self, x: Tensor<3>) -> Tensor<3>;

    fn text_ends(&self) -> &TextEnds;

    fn vocab_size(&self) -> usize;

    /// Number of positions that texts may have; none if there is no bound.
    fn max_positions(&self) -> Option<usize>;
}

/// The ids that begin and end generated texts.
#[derive(Debug, Clone)]
pub(crate) struct TextEnds {
    pub start: u32,
    pub eos: Vec<u32>,
    pub forced_bos: Option<u32>,
    pub forced_eos: Option<u32>,
}
