use burn::tensor::{Bool, Int, Tensor};
use latent_text_kernels::Reading;

use crate::cached::{Fixed, Room, Seen};

/// A network that writes texts token by token from encoder states.
pub(crate) trait TextDecoder {
    /// What decoding from encoder states `[sources, length, d_model]` starts from; of these, those at
    /// `encoder_mask` `[sources, length]` may be seen. There is one text for each source at first, and
    /// never more than there is room for.
    fn start(
        &self,
        encoder_states: Tensor<3>,
        encoder_mask: Option<Tensor<2, Bool>>,
        room: Room,
    ) -> (Fixed, Seen);

    /// One step of cached decoding: shows the decoder the next ids `[texts, 1]` of every text, to which
    /// `reading` has advanced, and returns its state `[texts, 1, d_model]` behind them. The texts of one
    /// source follow each other, and all sources have as many.
    fn step(
        &self,
        ids: Tensor<2, Int>,
        reading: &Reading,
        fixed: &Fixed,
        seen: Seen,
    ) -> (Tensor<3>, Seen);

    /// Of the decoder's attention to what it has read.
    fn heads(&self) -> usize;

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
