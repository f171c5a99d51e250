use burn::tensor::{Bool, Int, Tensor};
use latent_text_nn::hiding_bias;

use super::T5;
use super::attention::hide;
use crate::LanguageModelError;
use crate::bart::{DecoderCache, visible_keys};
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
    fn start_cache(
        &self,
        encoder_states: Tensor<3>,
        encoder_mask: Option<Tensor<2, Bool>>,
    ) -> DecoderCache {
        let device = encoder_states.device();
        let blocks = self.decoder.block.iter();
        let sources = blocks.map(|block| block.source(encoder_states.clone())).collect();
        DecoderCache::new(sources, encoder_mask.map(visible_keys), &device)
    }

    fn step(&self, ids: Tensor<2, Int>, cache: &mut DecoderCache) -> Tensor<3> {
        let decoder = &self.decoder;
        let mut x = decoder.dropout.forward(self.embed(ids));
        let position = cache.length();
        let visible = cache.advance();
        let [_, _, _, capacity] = visible.dims();
        let bias = decoder.relative_attention_bias.forward(position..position + 1, capacity);
        let bias = hide(bias, visible);
        let source_bias = cache.visible_source().map(hiding_bias);
        for (index, block) in decoder.block.iter().enumerate() {
            let source = cache.source(index);
            let seen = |own| cache.append(index, own);
            x = block.forward(x, bias.clone(), seen, source, source_bias.clone());
        }
        decoder.finish(x)
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
