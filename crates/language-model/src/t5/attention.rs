use burn::module::Module;
use burn::nn::{Dropout, Linear};
use burn::tensor::{Bool, FloatDType, Tensor, activation};
use latent_text_nn::{linear, merge_heads, split_heads};

use crate::bart::KeysValues;

/// Far below any real logit, yet finite: a row with nothing to see stays free of NaN.
const HIDDEN_LOGIT: f32 = -1e30;

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

    /// `x` `[batch, queries, d_model]` looks at `seen`; `bias`, in f32 and broadcastable to
    /// `[batch, heads, queries, keys]`, is added to the logits.
    pub(super) fn forward(
        &self,
        x: Tensor<3>,
        seen: KeysValues,
        bias: Option<Tensor<4>>,
    ) -> Tensor<3> {
        let queries = split_heads(linear(&self.q, x), self.heads);
        let dtype = seen.values.dtype();
        let mut logits = queries.matmul(seen.keys.swap_dims(2, 3)).cast(FloatDType::F32);
        if let Some(bias) = bias {
            logits = logits + bias;
        }
        let probabilities = activation::softmax(logits, 3).cast(dtype);
        let x = self.dropout.forward(probabilities).matmul(seen.values);
        linear(&self.o, merge_heads(x))
    }
}

/// `bias` where `visible`, which is broadcast with it, and what hides a key elsewhere.
pub(super) fn hide(bias: Tensor<4>, visible: Tensor<4, Bool>) -> Tensor<4> {
    bias + hiding_bias(visible)
}

/// 0 where `visible`, and what hides a key elsewhere; in f32.
pub(super) fn hiding_bias(visible: Tensor<4, Bool>) -> Tensor<4> {
    visible.bool_not().float().cast(FloatDType::F32) * HIDDEN_LOGIT
}
