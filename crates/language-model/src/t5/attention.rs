use burn::module::Module;
use burn::nn::{Dropout, Linear};
use burn::tensor::{Bool, Tensor};
use latent_text_kernels::{
    AttentionSettings, Past, PastAttention, attend_to_past, cross_attention,
};
use latent_text_nn::{Attention, hiding_bias, linear};

use crate::cached::{JoinedProjection, Newest, share_sources};

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
            Attention { heads: self.heads, scale: 1.0, bias, dropout: Some(&self.dropout) };
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
        let distance_bias = newest.distance_bias.cloned();
        let attention = PastAttention { heads: self.heads, scale: 1.0, distance_bias };
        let (x, past) = attend_to_past(newest.joined.forward(x), past, newest.reading, &attention);
        (linear(&self.o, x), past)
    }

    /// `x` `[texts, 1, d_model]` looks at its source, which it may share with other texts.
    pub(super) fn look_at(&self, x: Tensor<3>, newest: Newest<'_>) -> Tensor<3> {
        let [texts, length, _] = x.dims();
        let queries = share_sources(linear(&self.q, x), newest.source.dims()[0]);
        let settings = AttentionSettings {
            heads: self.heads,
            scale: 1.0,
            bias: newest.source_bias.cloned(),
            dropout: None,
        };
        let x = cross_attention(queries, newest.source.clone(), &settings);
        let inner = x.dims()[2];
        linear(&self.o, x.reshape([texts, length, inner]))
    }

    /// `[sources, length, d_model]` to `[sources, length, 2 * inner]`, the values behind the keys.
    pub(super) fn keys_values(&self, source: Tensor<3>) -> Tensor<3> {
        let keys = linear(&self.k, source.clone());
        Tensor::cat(vec![keys, linear(&self.v, source)], 2)
    }

    /// The projections to queries, keys and values as one product.
    pub(super) fn joined(&self) -> JoinedProjection {
        JoinedProjection::of([&self.q, &self.k, &self.v])
    }
}

/// `bias` where `visible`, which is broadcast with it, and what hides a key elsewhere.
pub(super) fn hide(bias: Tensor<4>, visible: Tensor<4, Bool>) -> Tensor<4> {
    bias + hiding_bias(visible)
}
