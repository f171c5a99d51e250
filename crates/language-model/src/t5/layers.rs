use burn::module::{Module, Param};
use burn::nn::{Dropout, Linear};
use burn::tensor::Tensor;
use latent_text_kernels::{Past, rms_norm};
use latent_text_nn::linear;

use super::attention::T5Attention;
use crate::Activation;
use crate::cached::Newest;

/// Division by the root mean square, without mean and offset, in f32 (Zhang and Sennrich, 2019).
#[derive(Module, Debug)]
pub(super) struct RmsNorm {
    pub(super) weight: Param<Tensor<1>>,
    pub(super) epsilon: f64,
}

impl RmsNorm {
    pub(super) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        rms_norm(x, self.weight.val(), self.epsilon)
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
        let x = self.self_attention.forward(x, bias);
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
    /// `bias` and `source_bias` are added to the logits of the attention to `x` itself and to the
    /// encoder's states, `source`.
    pub(super) fn forward(
        &self,
        x: Tensor<3>,
        bias: Tensor<4>,
        source: Tensor<3>,
        source_bias: Option<Tensor<4>>,
    ) -> Tensor<3> {
        let x = self.self_attention.forward(x, bias);
        let x = self.cross_attention.forward_to(x, source, source_bias);
        self.feed_forward.forward(x)
    }

    /// The newest token `x` `[texts, 1, d_model]` of every text.
    pub(super) fn step(&self, x: Tensor<3>, past: Past, newest: Newest<'_>) -> (Tensor<3>, Past) {
        let AttentionLayer { attention, layer_norm, .. } = &self.self_attention;
        let (seen, past) = attention.read_on(layer_norm.forward(x.clone()), past, newest);
        let x = x + seen;
        let AttentionLayer { attention, layer_norm, .. } = &self.cross_attention;
        let x = x.clone() + attention.look_at(layer_norm.forward(x), newest);
        (self.feed_forward.forward(x), past)
    }
}

#[derive(Module, Debug)]
pub(super) struct AttentionLayer {
    pub(super) attention: T5Attention,
    pub(super) layer_norm: RmsNorm,
    pub(super) dropout: Dropout,
}

impl AttentionLayer {
    fn forward(&self, x: Tensor<3>, bias: Tensor<4>) -> Tensor<3> {
        let normed = self.layer_norm.forward(x.clone());
        let seen = self.attention.forward(normed.clone(), normed, Some(bias));
        x + self.dropout.forward(seen)
    }

    fn forward_to(&self, x: Tensor<3>, source: Tensor<3>, bias: Option<Tensor<4>>) -> Tensor<3> {
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
