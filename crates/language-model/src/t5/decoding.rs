use burn::tensor::{Bool, Int, Tensor};
use latent_text_kernels::Reading;

use super::T5;
use super::layers::DecoderBlock;
use crate::LanguageModelError;
use crate::bart::hide_padding;
use crate::cached::{Fixed, Room, Seen};
use crate::generation::{self, GeneratedText, GenerationConfig, TextDecoder, TextEnds};

impl T5 {
    /// Writes texts for every row of `encoder_states` `[batch, source, d_model]`, as
    /// [`EncoderDecoder::generate`](crate::EncoderDecoder::generate) does; there is no longest `max_length`.
    ///
    /// # Errors
    /// As there.
    pub fn generate(
        &self,
        encoder_states: Tensor<3>,
        encoder_mask: Option<Tensor<2, Bool>>,
        config: &GenerationConfig,
        seeds: &[u64],
    ) -> Result<Vec<GeneratedText>, LanguageModelError> {
        generation::generate(self, encoder_states, encoder_mask, config, seeds)
    }
}

impl TextDecoder for T5 {
    fn start(
        &self,
        encoder_states: Tensor<3>,
        encoder_mask: Option<Tensor<2, Bool>>,
        room: Room,
    ) -> (Fixed, Seen) {
        let blocks = &self.decoder.block;
        let keys_values = |block: &DecoderBlock| {
            block.cross_attention.attention.keys_values(encoder_states.clone())
        };
        let on = (&encoder_states.device(), encoder_states.dtype());
        let sources = blocks.iter().map(keys_values).collect();
        let joined = |block: &DecoderBlock| block.self_attention.attention.joined();
        let fixed = Fixed {
            joined: blocks.iter().map(joined).collect(),
            positions: None,
            distance_bias: Some(self.decoder.relative_attention_bias.by_distance(room.tokens)),
        };
        (fixed, Seen::new(sources, encoder_mask.map(hide_padding), room, on))
    }

    fn step(
        &self,
        ids: Tensor<2, Int>,
        reading: &Reading,
        fixed: &Fixed,
        seen: Seen,
    ) -> (Tensor<3>, Seen) {
        let blocks = &self.decoder.block;
        let x = self.embed(ids);
        let (x, seen) = seen.through_layers(x, fixed, reading, |layer, x, past, newest| {
            blocks[layer].step(x, past, newest)
        });
        (self.decoder.finish(x), seen)
    }

    fn heads(&self) -> usize {
        self.decoder.block.first().map_or(1, |block| block.self_attention.attention.heads)
    }

    fn logits(&self, x: Tensor<3>) -> Tensor<3> {
        self.logits(x)
    }

    fn text_ends(&self) -> &TextEnds {
        &self.text_ends
    }

    fn vocab_size(&self) -> usize {
        self.shared.weight.lazy_shape()[0]
    }

    fn max_positions(&self) -> Option<usize> {
        None
    }
}
