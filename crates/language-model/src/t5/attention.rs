use burn::module::Module;
use burn::nn::{Dropout, Linear};
use burn::tensor::Tensor;
use latent_text_kernels::Past;
use latent_text_nn::{Attention, linear};

use crate::cached::{JoinedProjection, Newest, keys_values};

/// T5 does not scale the products of queries and keys.
const SCALE: f64 = 1.0;

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
    /// `x` `[batch, queries, d_model]` looks at `source` `[batch, keys, d_model]`; `bias`, in f32 and
    /// broadcastable to `[batch, heads, queries, keys]`, is added to the logits.
    pub(super) fn forward(
        &self,
        x: Tensor<3>,
        source: Tensor<3>,
        bias: Option<Tensor<4>>,
    ) -> Tensor<3> {
        let attention =
            Attention { heads: self.heads, scale: SCALE, bias, dropout: Some(&self.dropout) };
        let (keys, values) = (linear(&self.k, source.clone()), linear(&self.v, source));
        linear(&self.o, attention.forward(linear(&self.q, x), keys, values))
    }

    /// The newest token `x` `[texts, 1, d_model]` of every text looks at what came before it.
    pub(super) fn read_on(
        &self,
        x: Tensor<3>,
        past: Past,
        newest: Newest<'_>,
    ) -> (Tensor<3>, Past) {
        let (x, past) = newest.attend_to_past(x, past, self.heads, SCALE);
        (linear(&self.o, x), past)
    }

    /// `x` `[texts, 1, d_model]` looks at its source, which it may share with other texts.
    pub(super) fn look_at(&self, x: Tensor<3>, newest: Newest<'_>) -> Tensor<3> {
        linear(&self.o, newest.attend_to_source(linear(&self.q, x), self.heads, SCALE))
    }

    /// `[sources, length, d_model]` to `[sources, length, 2 * inner]`, the values behind the keys.
    pub(super) fn keys_values(&self, source: Tensor<3>) -> Tensor<3> {
        keys_values(&self.k, &self.v, source)
    }

    /// The projections to queries, keys and values as one product.
    pub(super) fn joined(&self) -> JoinedProjection {
        JoinedProjection::of([&self.q, &self.k, &self.v])
    }
}
