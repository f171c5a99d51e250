use burn::module::Module;
use burn::nn::{Dropout, Linear};
use burn::tensor::Tensor;
use latent_text_kernels::Past;
use latent_text_nn::{Attention, linear};

use crate::cached::{JoinedProjection, Newest, keys_values};

#[derive(Module, Debug)]
pub(super) struct BartAttention {
    pub(super) k_proj: Linear,
    pub(super) v_proj: Linear,
    pub(super) q_proj: Linear,
    pub(super) out_proj: Linear,
    pub(super) dropout: Dropout,
    pub(super) heads: usize,
}

impl BartAttention {
    /// `x` `[batch, queries, d_model]` looks at `source` `[batch, keys, d_model]`; `bias`, in f32 and
    /// broadcastable to `[batch, heads, queries, keys]`, is added to the logits.
    pub(super) fn forward(
        &self,
        x: Tensor<3>,
        source: Tensor<3>,
        bias: Option<Tensor<4>>,
    ) -> Tensor<3> {
        let scale = self.scale();
        let attention = Attention { heads: self.heads, scale, bias, dropout: Some(&self.dropout) };
        let keys = linear(&self.k_proj, source.clone());
        let values = linear(&self.v_proj, source);
        linear(&self.out_proj, attention.forward(linear(&self.q_proj, x), keys, values))
    }

    /// The newest token `x` `[texts, 1, d_model]` of every text looks at what came before it.
    pub(super) fn read_on(
        &self,
        x: Tensor<3>,
        past: Past,
        newest: Newest<'_>,
    ) -> (Tensor<3>, Past) {
        let (x, past) = newest.attend_to_past(x, past, self.heads, self.scale());
        (linear(&self.out_proj, x), past)
    }

    /// `x` `[texts, 1, d_model]` looks at its source, which it may share with other texts.
    pub(super) fn look_at(&self, x: Tensor<3>, newest: Newest<'_>) -> Tensor<3> {
        let queries = linear(&self.q_proj, x);
        linear(&self.out_proj, newest.attend_to_source(queries, self.heads, self.scale()))
    }

    /// `[sources, length, d_model]` to `[sources, length, 2 * d_model]`, the values behind the keys.
    pub(super) fn keys_values(&self, source: Tensor<3>) -> Tensor<3> {
        keys_values(&self.k_proj, &self.v_proj, source)
    }

    /// The projections to queries, keys and values as one product.
    pub(super) fn joined(&self) -> JoinedProjection {
        JoinedProjection::of([&self.q_proj, &self.k_proj, &self.v_proj])
    }

    fn scale(&self) -> f64 {
        let [dim, _] = self.q_proj.weight.lazy_shape().dims();
        ((dim / self.heads) as f64).powf(-0.5)
    }
}
