use burn::module::Module;
use burn::nn::{Dropout, Linear};
use burn::tensor::Tensor;
use latent_text_kernels::{
    AttentionSettings, Past, PastAttention, attend_to_past, cross_attention,
};
use latent_text_nn::{Attention, linear};

use crate::cached::{JoinedProjection, Newest, share_sources};

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
        let attention =
            PastAttention { heads: self.heads, scale: self.scale(), distance_bias: None };
        let (x, past) = attend_to_past(newest.joined.forward(x), past, newest.reading, &attention);
        (linear(&self.out_proj, x), past)
    }

    /// `x` `[texts, 1, d_model]` looks at its source, which it may share with other texts.
    pub(super) fn look_at(&self, x: Tensor<3>, newest: Newest<'_>) -> Tensor<3> {
        let shape = x.dims();
        let queries = share_sources(linear(&self.q_proj, x), newest.source.dims()[0]);
        let settings = AttentionSettings {
            heads: self.heads,
            scale: self.scale(),
            bias: newest.source_bias.cloned(),
            dropout: None,
        };
        let x = cross_attention(queries, newest.source.clone(), &settings);
        linear(&self.out_proj, x.reshape(shape))
    }

    /// `[sources, length, d_model]` to `[sources, length, 2 * d_model]`, the values behind the keys.
    pub(super) fn keys_values(&self, source: Tensor<3>) -> Tensor<3> {
        let keys = linear(&self.k_proj, source.clone());
        Tensor::cat(vec![keys, linear(&self.v_proj, source)], 2)
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
