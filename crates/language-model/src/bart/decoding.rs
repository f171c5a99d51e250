use burn::tensor::{Bool, Int, Tensor};
use latent_text_kernels::Reading;
use latent_text_nn::layer_norm;

use super::layers::DecoderLayer;
use super::{Bart, POSITION_OFFSET, finish, hide_padding, position_rows};
use crate::LanguageModelError;
use crate::cached::{Fixed, Room, Seen};
use crate::generation::{self, GeneratedText, GenerationConfig, TextDecoder, TextEnds};

impl Bart {
    /// Writes texts for every row of `encoder_states` `[batch, source, d_model]`, as
    /// [`EncoderDecoder::generate`](crate::EncoderDecoder::generate) does.
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

impl TextDecoder for Bart {
    fn step(
        &self,
        ids: Tensor<2, Int>,
        reading: &Reading,
        fixed: &Fixed,
        seen: Seen,
    ) -> (Tensor<3>, Seen) {
        let decoder = &self.model.decoder;
        let x = self.model.embed(ids);
        let x = match fixed.position_row(reading) {
            Some(row) => x + row,
            None => x,
        };
        let x = layer_norm(&decoder.layernorm_embedding, x);
        let (x, seen) = seen.through_layers(x, fixed, reading, |layer, x, past, newest| {
            decoder.layers[layer].step(x, past, newest)
        });
        (finish(x, &decoder.layer_norm), seen)
    }

    fn start(
        &self,
        encoder_states: Tensor<3>,
        encoder_mask: Option<Tensor<2, Bool>>,
        room: Room,
    ) -> (Fixed, Seen) {
        let layers = &self.model.decoder.layers;
        let keys_values =
            |layer: &DecoderLayer| layer.encoder_attn.keys_values(encoder_states.clone());
        let on = (&encoder_states.device(), encoder_states.dtype());
        let sources = layers.iter().map(keys_values).collect();
        let table = self.model.decoder.embed_positions.weight.val();
        let fixed = Fixed {
            joined: layers.iter().map(|layer| layer.self_attn.joined()).collect(),
            positions: Some(position_rows(table, room.tokens)),
            distance_bias: None,
        };
        (fixed, Seen::new(sources, encoder_mask.map(hide_padding), room, on))
    }

    fn heads(&self) -> usize {
        self.model.decoder.layers.first().map_or(1, |layer| layer.self_attn.heads)
    }

    fn logits(&self, x: Tensor<3>) -> Tensor<3> {
        self.logits(x)
    }

    fn text_ends(&self) -> &TextEnds {
        &self.text_ends
    }

    fn vocab_size(&self) -> usize {
        self.model.shared.weight.lazy_shape()[0]
    }

    fn max_positions(&self) -> Option<usize> {
        Some(self.model.decoder.embed_positions.weight.lazy_shape()[0] - POSITION_OFFSET)
    }
}
