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
    #[module(skip)]
    pub(super) norms: Norms,
}

impl EncoderLayer {
    pub(super) fn forward(&self, x: Tensor<3>, visible: Option<Tensor<4, Bool>>) -> Tensor<3> {
        let x = self.norms.add(x, &self.self_attn_layer_norm, |x| {
            let seen = self.self_attn.keys_values(x.clone());
            self.dropout.forward(self.self_attn.forward(x, seen, visible))
        });
        self.norms.add(x, &self.final_layer_norm, |x| {
            let hidden = self.activation.apply(linear(&self.fc1, x));
            self.dropout.forward(linear(&self.fc2, self.activation_dropout.forward(hidden)))
        })
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
    #[module(skip)]
    pub(super) norms: Norms,
}

impl DecoderLayer {
    /// `seen` turns the keys and values of `x` into those of all that `x` looks at; `source` are
    /// those of the encoder's states.
    pub(super) fn forward(
        &self,
        x: Tensor<3>,
        seen: impl FnOnce(KeysValues) -> KeysValues,
        visible: Option<Tensor<4, Bool>>,
        source: KeysValues,
        visible_source: Option<Tensor<4, Bool>>,
    ) -> Tensor<3> {
        let x = self.norms.add(x, &self.self_attn_layer_norm, |x| {
            let seen = seen(self.self_attn.keys_values(x.clone()));
            self.dropout.forward(self.self_attn.forward(x, seen, visible))
        });
        let x = self.norms.add(x, &self.encoder_attn_layer_norm, |x| {
            self.dropout.forward(self.encoder_attn.forward(x, source, visible_source))
        });
        self.norms.add(x, &self.final_layer_norm, |x| {
            let hidden = self.activation.apply(linear(&self.fc1, x));
            self.dropout.forward(linear(&self.fc2, self.activation_dropout.forward(hidden)))
        })
    }
}

/// Where the norms of residual sums are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Norms {
    BehindSums,
    InFrontOfBranches,
}

impl Norms {
    fn add(
        self,
        x: Tensor<3>,
        norm: &LayerNorm,
        branch: impl FnOnce(Tensor<3>) -> Tensor<3>,
    ) -> Tensor<3> {
        match self {
            Self::BehindSums => layer_norm(norm, x.clone() + branch(x)),
            Self::InFrontOfBranches => x.clone() + branch(layer_norm(norm, x)),
        }
    }
}
