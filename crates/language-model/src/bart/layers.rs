use burn::module::Module;
use burn::nn::{Dropout, LayerNorm, Linear};
use burn::tensor::{Bool, Tensor};
use latent_text_nn::{layer_norm, linear};

use super::attention::{BartAttention, KeysValues};
use crate::Activation;

#[derive(Module, Debug)]
pub(super) struct EncoderLayer {
    pub(super) self_attn: BartAttention,
    pub(super) self_attn_layer_norm: LayerNorm,
    pub(super) fc1: Linear,
    pub(super) fc2: Linear,
    pub(super) final_layer_norm: LayerNorm,
    pub(super) dropout: Dropout,
    pub(super) activation_dropout: Dropout,
    #[module(skip)]
    pub(super) activation: Activation,
}

impl EncoderLayer {
    pub(super) fn forward(&self, x: Tensor<3>, visible: Option<Tensor<4, Bool>>) -> Tensor<3> {
        let seen = self.self_attn.keys_values(x.clone());
        let branch = self.self_attn.forward(x.clone(), seen, visible);
        let x = layer_norm(&self.self_attn_layer_norm, x + self.dropout.forward(branch));

        let hidden = self.activation.apply(linear(&self.fc1, x.clone()));
        let branch = linear(&self.fc2, self.activation_dropout.forward(hidden));
        layer_norm(&self.final_layer_norm, x + self.dropout.forward(branch))
    }
}

#[derive(Module, Debug)]
pub(super) struct DecoderLayer {
    pub(super) self_attn: BartAttention,
    pub(super) self_attn_layer_norm: LayerNorm,
    pub(super) encoder_attn: BartAttention,
    pub(super) encoder_attn_layer_norm: LayerNorm,
    pub(super) fc1: Linear,
    pub(super) fc2: Linear,
    pub(super) final_layer_norm: LayerNorm,
    pub(super) dropout: Dropout,
    pub(super) activation_dropout: Dropout,
    #[module(skip)]
    pub(super) activation: Activation,
}

impl DecoderLayer {
    /// `own` are the keys and values of the decoder's own tokens, `source` those of the encoder's.
    pub(super) fn forward(
        &self,
        x: Tensor<3>,
        own: KeysValues,
        visible: Option<Tensor<4, Bool>>,
        source: KeysValues,
        visible_source: Option<Tensor<4, Bool>>,
    ) -> Tensor<3> {
        let branch = self.self_attn.forward(x.clone(), own, visible);
        let x = layer_norm(&self.self_attn_layer_norm, x + self.dropout.forward(branch));

        let branch = self.encoder_attn.forward(x.clone(), source, visible_source);
        let x = layer_norm(&self.encoder_attn_layer_norm, x + self.dropout.forward(branch));

        let hidden = self.activation.apply(linear(&self.fc1, x.clone()));
        let branch = linear(&self.fc2, self.activation_dropout.forward(hidden));
        layer_norm(&self.final_layer_norm, x + self.dropout.forward(branch))
    }
}
