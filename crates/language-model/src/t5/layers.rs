use burn::module::{Module, Param};
use burn::nn::{Dropout, Linear};
use burn::tensor::{FloatDType, Tensor};
use latent_text_nn::linear;

use super::attention::T5Attention;
use crate::Activation;
use crate::bart::KeysValues;

/// Division by the root mean square, without mean and offset, in f32 (Zhang and Sennrich, 2019).
#[derive(Module, Debug)]
pub(super) struct RmsNorm {
    pub(super) weight: Param<Tensor<1>>,
    pub(super) epsilon: f64,
}

impl RmsNorm {
    pub(super) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let dtype = x.dtype();
        let x = x.cast(FloatDType::F32);
        let mean_square = x.clone().square().mean_dim(2);
        let gain = self.weight.val().cast(FloatDType::F32);
        (x / (mean_square + self.epsilon).sqrt() * gain.unsqueeze()).cast(dtype)
    }
}

#[derive(Module, Debug)]
pub(super) struct EncoderBlock {
    pub(super) self_attention: AttentionLayer,
    pub(super) feed_forward: FeedForwardLayer,
}

impl EncoderBlock {
    /// `bias` is added to the logits of the attention.
    pub(super) fn forward(&self, x: Tensor<3>, bias: Tensor<4>) -> Tensor<3> {
        let x = self.self_attention.forward(x, Some(bias), |own| own);
        self.feed_forward.forward(x)
    }
}

#[derive(Module, Debug)]
pub(super) struct DecoderBlock {
    pub(super) self_attention: AttentionLayer,
    pub(super) cross_attention: AttentionLayer,
    pub(super) feed_forward: FeedForwardLayer,
}

impl DecoderBlock {
    /// `seen` turns the keys and values of `x` into those of all that `x` looks at; `source` are
    /// those of the encoder's states.
    pub(super) fn forward(
        &self,
        x: Tensor<3>,
        bias: Tensor<4>,
        seen: impl FnOnce(KeysValues) -> KeysValues,
        source: KeysValues,
        source_bias: Option<Tensor<4>>,
    ) -> Tensor<3> {
        let x = self.self_attention.forward(x, Some(bias), seen);
        let x = self.cross_attention.look_at(x, source, source_bias);
        self.feed_forward.forward(x)
    }

    pub(super) fn source(&self, encoder_states: Tensor<3>) -> KeysValues {
        self.cross_attention.attention.keys_values(encoder_states)
    }
}

#[derive(Module, Debug)]
pub(super) struct AttentionLayer {
    pub(super) attention: T5Attention,
    pub(super) layer_norm: RmsNorm,
    pub(super) dropout: Dropout,
}

impl AttentionLayer {
    fn forward(
        &self,
        x: Tensor<3>,
        bias: Option<Tensor<4>>,
        seen: impl FnOnce(KeysValues) -> KeysValues,
    ) -> Tensor<3> {
        let normed = self.layer_norm.forward(x.clone());
        let seen = seen(self.attention.keys_values(normed.clone()));
        x + self.dropout.forward(self.attention.forward(normed, seen, bias))
    }

    fn look_at(&self, x: Tensor<3>, source: KeysValues, bias: Option<Tensor<4>>) -> Tensor<3> {
        let normed = self.layer_norm.forward(x.clone());
        x + self.dropout.forward(self.attention.forward(normed, source, bias))
    }
}

#[derive(Module, Debug)]
pub(super) struct FeedForwardLayer {
    pub(super) dense: FeedForward,
    pub(super) layer_norm: RmsNorm,
    pub(super) dropout: Dropout,
}

impl FeedForwardLayer {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let branch = self.dense.forward(self.layer_norm.forward(x.clone()));
        x + self.dropout.forward(branch)
    }
}

#[derive(Module, Debug)]
pub(super) struct FeedForward {
    /// Goes through the activation; checkpoints call it `wi_0` if there is a `wi_1`.
    pub(super) wi: Linear,
    /// Multiplies the activated values.
    pub(super) wi_1: Option<Linear>,
    pub(super) wo: Linear,
    pub(super) dropout: Dropout,
    #[module(skip)]
    pub(super) activation: Activation,
}

impl FeedForward {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let mut hidden = self.activation.apply(linear(&self.wi, x.clone()));
        if let Some(wi_1) = &self.wi_1 {
            hidden = hidden * linear(wi_1, x);
        }
        linear(&self.wo, self.dropout.forward(hidden))
    }
}
