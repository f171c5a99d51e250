use burn::module::Module;
use burn::nn::{Dropout, LayerNorm, Linear};
use burn::tensor::Tensor;
use latent_text_kernels::Past;
use latent_text_nn::{layer_norm, linear, norm_of_sum};

use super::attention::BartAttention;
use crate::Activation;
use crate::cached::Newest;

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
    /// `bias` is added to the logits of the attention.
    pub(super) fn forward(&self, x: Tensor<3>, bias: Option<Tensor<4>>) -> Tensor<3> {
        let x = self.norms.add(x, &self.self_attn_layer_norm, |x| {
            self.dropout.forward(self.self_attn.forward(x.clone(), x, bias))
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
    /// `past_bias` and `source_bias` are added to the logits of the attention to `x` itself and to the
    /// encoder's states, `source`.
    pub(super) fn forward(
        &self,
        x: Tensor<3>,
        past_bias: Tensor<4>,
        source: Tensor<3>,
        source_bias: Option<Tensor<4>>,
    ) -> Tensor<3> {
        let x = self.norms.add(x, &self.self_attn_layer_norm, |x| {
            self.dropout.forward(self.self_attn.forward(x.clone(), x, Some(past_bias)))
        });
        let x = self.norms.add(x, &self.encoder_attn_layer_norm, |x| {
            self.dropout.forward(self.encoder_attn.forward(x, source, source_bias))
        });
        self.feed_forward(x)
    }

    /// The newest token `x` `[texts, 1, d_model]` of every text.
    pub(super) fn step(&self, x: Tensor<3>, past: Past, newest: Newest<'_>) -> (Tensor<3>, Past) {
        let norm = &self.self_attn_layer_norm;
        let input = self.norms.input(x.clone(), norm);
        let (seen, past) = self.self_attn.read_on(input, past, newest);
        let x = self.norms.sum(x, seen, norm);
        let x = self
            .norms
            .add(x, &self.encoder_attn_layer_norm, |x| self.encoder_attn.look_at(x, newest));
        (self.feed_forward(x), past)
    }

    fn feed_forward(&self, x: Tensor<3>) -> Tensor<3> {
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
        let branch = branch(self.input(x.clone(), norm));
        self.sum(x, branch, norm)
    }

    /// What a branch reads.
    fn input(self, x: Tensor<3>, norm: &LayerNorm) -> Tensor<3> {
        match self {
            Self::BehindSums => x,
            Self::InFrontOfBranches => layer_norm(norm, x),
        }
    }

    fn sum(self, x: Tensor<3>, branch: Tensor<3>, norm: &LayerNorm) -> Tensor<3> {
        match self {
            Self::BehindSums => norm_of_sum(norm, x, branch),
            Self::InFrontOfBranches => x + branch,
        }
    }
}
