use burn::tensor::{Bool, Int, Tensor};

use super::{Bart, DecoderCache, POSITION_OFFSET, add_positions, finish, visible_keys};
use crate::LanguageModelError;
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
    fn step(&self, ids: Tensor<2, Int>, cache: &mut DecoderCache) -> Tensor<3> {
        let decoder = &self.model.decoder;
        let x = self.model.embed(ids);
        let position = cache.length();
        let x = add_positions(x, position, &decoder.embed_positions, &decoder.layernorm_embedding);
        let mut x = decoder.dropout.forward(x);
        let visible = cache.advance();
        let visible_source = cache.visible_source();
        for (index, layer) in decoder.layers.iter().enumerate() {
            let source = cache.source(index);
            let seen = |own| cache.append(index, own);
            x = layer.forward(x, seen, Some(visible.clone()), source, visible_source.clone());
        }
        finish(x, &decoder.layer_norm)
    }

    fn start_cache(
        &self,
        encoder_states: Tensor<3>,
        encoder_mask: Option<Tensor<2, Bool>>,
    ) -> DecoderCache {
        let device = encoder_states.device();
        let sources = self
            .model
            .decoder
            .layers
            .iter()
            .map(|layer| layer.encoder_attn.keys_values(encoder_states.clone()))
            .collect();
        DecoderCache::new(sources, encoder_mask.map(visible_keys), &device)
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
