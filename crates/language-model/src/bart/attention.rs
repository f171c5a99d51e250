use burn::module::Module;
use burn::nn::{Dropout, Linear};
use burn::tensor::{Bool, Tensor};
use latent_text_nn::{attention, linear, merge_heads, split_heads};

#[derive(Module, Debug)]
pub(super) struct BartAttention {
    pub(super) k_proj: Linear,
    pub(super) v_proj: Linear,
    pub(super) q_proj: Linear,
    pub(super) out_proj: Linear,
    pub(super) dropout: Dropout,
    pub(super) heads: usize,
}

/// What is looked at: two tensors `[batch, heads, keys, head_dim]`.
#[derive(Debug, Clone)]
pub(crate) struct KeysValues {
    pub keys: Tensor<4>,
    pub values: Tensor<4>,
}

impl BartAttention {
    pub(super) fn keys_values(&self, source: Tensor<3>) -> KeysValues {
        KeysValues {
            keys: split_heads(linear(&self.k_proj, source.clone()), self.heads),
            values: split_heads(linear(&self.v_proj, source), self.heads),
        }
    }

    /// `x` `[batch, queries, d_model]` looks at `seen`, where `visible` is true. The batch of `seen` may
    /// be smaller by a factor: so many rows of `x` after each other look at the same then.
    pub(super) fn forward(
        &self,
        x: Tensor<3>,
        seen: KeysValues,
        visible: Option<Tensor<4, Bool>>,
    ) -> Tensor<3> {
        let shape = x.dims();
        let x = share_sources(x, seen.keys.dims()[0]);
        let head_dim = shape[2] / self.heads;
        let scale = (head_dim as f64).powf(-0.5);
        let queries = split_heads(linear(&self.q_proj, x) * scale, self.heads);
        let x = attention(queries, seen.keys, seen.values, visible, &self.dropout);
        linear(&self.out_proj, merge_heads(x)).reshape(shape)
    }
}

/// Rows of `[texts, queries, dim]` that look at the same of so many sources as one row with more
/// queries: `[sources, queries * texts / sources, dim]`.
pub(crate) fn share_sources(x: Tensor<3>, sources: usize) -> Tensor<3> {
    let [texts, queries, dim] = x.dims();
    if texts == sources { x } else { x.reshape([sources, texts / sources * queries, dim]) }
}
