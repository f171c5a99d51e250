use burn::module::Module;
use burn::nn::{Dropout, Linear};
use burn::tensor::{Bool, Tensor};
use latent_text_nn::{biased_attention, hiding_bias, linear, merge_heads, split_heads};

use crate::bart::{KeysValues, share_sources};

/// Attention without scale and without biases of its projections.
#[derive(Module, Debug)]
pub(super) struct T5Attention {
    pub(super) q: Linear,
    pub(super) k: Linear,
    pub(super) v: Linear,
    pub(super) o: Linear,
    pub(super) dropout: Dropout,
    pub(super) heads: usize,
}

impl T5Attention {
    pub(super) fn keys_values(&self, source: Tensor<3>) -> KeysValues {
        KeysValues {
            keys: split_heads(linear(&self.k, source.clone()), self.heads),
            values: split_heads(linear(&self.v, source), self.heads),
        }
    }

    /// `x` `[batch, queries, d_model]` looks at `seen`, whose batch may be smaller by a factor: so many
    /// rows of `x` after each other look at the same then. `bias`, in f32 and broadcastable to
    /// `[batch, heads, queries, keys]`, is added to the logits.
    pub(super) fn forward(
        &self,
        x: Tensor<3>,
        seen: KeysValues,
        bias: Option<Tensor<4>>,
    ) -> Tensor<3> {
        let shape = x.dims();
        let x = share_sources(x, seen.keys.dims()[0]);
        let queries = split_heads(linear(&self.q, x), self.heads);
        let x = biased_attention(queries, seen.keys, seen.values, bias, &self.dropout);
        linear(&self.o, merge_heads(x)).reshape(shape)
    }
}

/// `bias` where `visible`, which is broadcast with it, and what hides a key elsewhere.
pub(super) fn hide(bias: Tensor<4>, visible: Tensor<4, Bool>) -> Tensor<4> {
    bias + hiding_bias(visible)
}
