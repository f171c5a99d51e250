//! T5: a network whose only positions are biases of its attention.

mod attention;
mod config;
mod decoding;
mod init;
mod layers;
mod position_bias;
mod weights;

use burn::module::Module;
use burn::nn::{Dropout, Embedding, Linear};
use burn::tensor::{Bool, Int, Tensor};
use latent_text_nn::{embedding, hiding_bias, linear, unembedding};

use self::layers::{DecoderBlock, EncoderBlock, RmsNorm};
use self::position_bias::RelativePositionBias;
use crate::bart::hide_padding;
use crate::generation::TextEnds;

pub use self::config::{T5Config, T5Family, T5FeedForward};

/// T5 (Raffel et al., 2020), T5 1.1, FLAN-T5 and mT5: an encoder and a decoder with pre-norm blocks,
/// relative position biases and no other position information.
///
/// Made by [`T5Config::init`] or [`T5::load`]. Dropout acts on autodiff devices only. Texts may have
/// any length.
///
/// Run it in f32 or bf16: the states of the published checkpoints grow beyond the range of f16.
#[derive(Module, Debug)]
pub struct T5 {
    shared: Embedding,
    encoder: T5Encoder,
    decoder: T5Decoder,
    /// `None` if the output layer shares the embedding table.
    lm_head: Option<Linear>,
    /// Multiplies the decoder's states before the output layer.
    logit_scale: f64,
    #[module(skip)]
    text_ends: TextEnds,
    #[module(skip)]
    gated: bool,
}

#[derive(Module, Debug)]
struct T5Encoder {
    relative_attention_bias: RelativePositionBias,
    block: Vec<EncoderBlock>,
    final_layer_norm: RmsNorm,
    dropout: Dropout,
}

#[derive(Module, Debug)]
struct T5Decoder {
    relative_attention_bias: RelativePositionBias,
    block: Vec<DecoderBlock>,
    final_layer_norm: RmsNorm,
    dropout: Dropout,
}

impl T5 {
    /// The encoder's states of token ids.
    ///
    /// # Shapes
    /// - `input_ids`: `[batch, length]`
    /// - `attention_mask`: `[batch, length]`, `true` at real tokens; none if there is no padding
    /// - returns `[batch, length, d_model]`
    pub fn encode(
        &self,
        input_ids: Tensor<2, Int>,
        attention_mask: Option<Tensor<2, Bool>>,
    ) -> Tensor<3> {
        let encoder = &self.encoder;
        let [_, length] = input_ids.dims();
        let mut bias = encoder.relative_attention_bias.forward(0..length, length);
        if let Some(mask) = attention_mask {
            bias = bias + hide_padding(mask);
        }
        let x = encoder.dropout.forward(self.embed(input_ids));
        let x = encoder.block.iter().fold(x, |x, block| block.forward(x, bias.clone()));
        encoder.dropout.forward(encoder.final_layer_norm.forward(x))
    }

    /// The logits of every next token when the decoder is shown `decoder_input_ids`
    /// (teacher forcing; see [`shift_right`](crate::shift_right)).
    ///
    /// # Shapes
    /// - `decoder_input_ids`: `[batch, length]`
    /// - `encoder_states`: `[batch, source, d_model]`
    /// - `encoder_mask`: `[batch, source]`, `true` where the decoder may look; none for everywhere
    /// - returns `[batch, length, vocabulary]`
    pub fn decode(
        &self,
        decoder_input_ids: Tensor<2, Int>,
        encoder_states: Tensor<3>,
        encoder_mask: Option<Tensor<2, Bool>>,
    ) -> Tensor<3> {
        let decoder = &self.decoder;
        let [_, length] = decoder_input_ids.dims();
        let mut x = decoder.dropout.forward(self.embed(decoder_input_ids));
        let past = Tensor::<2, Bool>::tril_mask([length, length], 0, &x.device()).bool_not();
        let bias = decoder.relative_attention_bias.forward(0..length, length);
        let bias = bias + hiding_bias(past.unsqueeze());
        let source_bias = encoder_mask.map(hide_padding);
        for block in &decoder.block {
            x = block.forward(x, bias.clone(), encoder_states.clone(), source_bias.clone());
        }
        self.logits(decoder.finish(x))
    }

    /// `[batch, length, d_model]` to `[batch, length, vocabulary]`.
    fn logits(&self, x: Tensor<3>) -> Tensor<3> {
        let x = if self.logit_scale == 1.0 { x } else { x * self.logit_scale };
        match &self.lm_head {
            Some(head) => linear(head, x),
            None => unembedding(self.shared.weight.val(), x),
        }
    }

    fn embed(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        embedding(self.shared.weight.val(), ids)
    }
}

impl T5Decoder {
    fn finish(&self, x: Tensor<3>) -> Tensor<3> {
        self.dropout.forward(self.final_layer_norm.forward(x))
    }
}
