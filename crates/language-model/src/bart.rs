//! The network; its fields are named after the tensors of Hugging Face's checkpoints.

mod attention;
mod config;
mod decoding;
mod init;
mod layers;
mod weights;

use burn::module::{Module, Param};
use burn::nn::{Dropout, Embedding, LayerNorm};
use burn::tensor::{Bool, Int, Tensor};
use latent_text_nn::{embedding, hiding_bias, layer_norm, unembedding};

pub use self::config::{BartConfig, BartFamily};
use self::layers::{DecoderLayer, EncoderLayer};
use crate::generation::TextEnds;

/// BART's position tables begin with two rows that no position uses.
const POSITION_OFFSET: usize = 2;

/// BART (Lewis et al., 2019) and mBART (Liu et al., 2020): a bidirectional encoder and an
/// autoregressive decoder, which share one embedding table with the output layer. BART normalises
/// behind every sub-layer, mBART in front of it.
///
/// Made by [`BartConfig::init`] or [`Bart::load`]. Dropout acts on autodiff devices only,
/// and not in a frozen model.
#[derive(Module, Debug)]
pub struct Bart {
    model: BartModel,
    /// `[1, vocabulary]`, added to the logits; `None` stands for zeros and saves the addition.
    final_logits_bias: Option<Param<Tensor<2>>>,
    #[module(skip)]
    text_ends: TextEnds,
}

#[derive(Module, Debug)]
struct BartModel {
    shared: Embedding,
    encoder: BartEncoder,
    decoder: BartDecoder,
    embed_scale: f64,
}

#[derive(Module, Debug)]
struct BartEncoder {
    embed_positions: Embedding,
    layers: Vec<EncoderLayer>,
    layernorm_embedding: LayerNorm,
    /// Behind the last layer of an mBART.
    layer_norm: Option<LayerNorm>,
    dropout: Dropout,
}

#[derive(Module, Debug)]
struct BartDecoder {
    embed_positions: Embedding,
    layers: Vec<DecoderLayer>,
    layernorm_embedding: LayerNorm,
    /// Behind the last layer of an mBART.
    layer_norm: Option<LayerNorm>,
    dropout: Dropout,
}

impl Bart {
    /// The encoder's states of token ids.
    ///
    /// # Shapes
    /// - `input_ids`: `[batch, length]`
    /// - `attention_mask`: `[batch, length]`, `true` at real tokens; none if there is no padding
    /// - returns `[batch, length, d_model]`
    ///
    /// # Panics
    /// If the texts are longer than the position table.
    pub fn encode(
        &self,
        input_ids: Tensor<2, Int>,
        attention_mask: Option<Tensor<2, Bool>>,
    ) -> Tensor<3> {
        let encoder = &self.model.encoder;
        let x = self.model.embed(input_ids);
        let x = add_positions(x, &encoder.embed_positions, &encoder.layernorm_embedding);
        let bias = attention_mask.map(hide_padding);
        let x = encoder.dropout.forward(x);
        let x = encoder.layers.iter().fold(x, |x, layer| layer.forward(x, bias.clone()));
        finish(x, &encoder.layer_norm)
    }

    /// The logits of every next token when the decoder is shown `decoder_input_ids`
    /// (teacher forcing; see [`shift_right`](crate::shift_right)).
    ///
    /// # Shapes
    /// - `decoder_input_ids`: `[batch, length]`
    /// - `encoder_states`: `[batch, source, d_model]`
    /// - `encoder_mask`: `[batch, source]`, `true` where the decoder may look; none for everywhere
    /// - returns `[batch, length, vocabulary]`
    ///
    /// # Panics
    /// If the texts are longer than the position table.
    pub fn decode(
        &self,
        decoder_input_ids: Tensor<2, Int>,
        encoder_states: Tensor<3>,
        encoder_mask: Option<Tensor<2, Bool>>,
    ) -> Tensor<3> {
        let decoder = &self.model.decoder;
        let [_, length] = decoder_input_ids.dims();
        let x = self.model.embed(decoder_input_ids);
        let x = add_positions(x, &decoder.embed_positions, &decoder.layernorm_embedding);
        let mut x = decoder.dropout.forward(x);
        let device = x.device();
        let past = Tensor::<2, Bool>::tril_mask([length, length], 0, &device).bool_not();
        let past_bias = hiding_bias(past.unsqueeze::<4>());
        let source_bias = encoder_mask.map(hide_padding);
        for layer in &decoder.layers {
            x = layer.forward(x, past_bias.clone(), encoder_states.clone(), source_bias.clone());
        }
        self.logits(finish(x, &decoder.layer_norm))
    }

    /// `[batch, length, d_model]` to `[batch, length, vocabulary]`.
    fn logits(&self, x: Tensor<3>) -> Tensor<3> {
        let logits = unembedding(self.model.shared.weight.val(), x);
        match &self.final_logits_bias {
            Some(bias) => {
                let bias = bias.val().cast(logits.dtype()).unsqueeze();
                logits + bias
            }
            None => logits,
        }
    }
}

impl BartModel {
    fn embed(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let x = embedding(self.shared.weight.val(), ids);
        if self.embed_scale == 1.0 { x } else { x * self.embed_scale }
    }
}

/// What a stack makes of its last layer's output.
fn finish(x: Tensor<3>, norm: &Option<LayerNorm>) -> Tensor<3> {
    match norm {
        Some(norm) => layer_norm(norm, x),
        None => x,
    }
}

/// Adds the rows of the position table, and normalises.
fn add_positions(x: Tensor<3>, table: &Embedding, norm: &LayerNorm) -> Tensor<3> {
    let [_, length, _] = x.dims();
    layer_norm(norm, x + position_rows(table.weight.val(), length).unsqueeze())
}

/// The embeddings of the first `length` positions, `[length, d_model]`.
fn position_rows(table: Tensor<2>, length: usize) -> Tensor<2> {
    let positions = table.dims()[0] - POSITION_OFFSET;
    assert!(
        length <= positions,
        "a text of {length} tokens does not fit into {positions} positions"
    );
    table.narrow(0, POSITION_OFFSET, length)
}

/// The bias of attention to texts with this mask `[batch, length]`: `[batch, 1, 1, length]`.
pub(crate) fn hide_padding(mask: Tensor<2, Bool>) -> Tensor<4> {
    let [batch, length] = mask.dims();
    hiding_bias(mask.reshape([batch, 1, 1, length]))
}
