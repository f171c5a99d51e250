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

    /// `x` `[batch, queries, d_model]` looks at `seen`, where `visible` is true.
    pub(super) fn forward(
        &self,
        x: Tensor<3>,
        seen: KeysValues,
        visible: Option<Tensor<4, Bool>>,
    ) -> Tensor<3> {
        let head_dim = x.dims()[2] / self.heads;
        let scale = (head_dim as f64).powf(-0.5);
        let queries = split_heads(linear(&self.q_proj, x) * scale, self.heads);
        let x = attention(queries, seen.keys, seen.values, visible, &self.dropout);
        linear(&self.out_proj, merge_heads(x))
    }
}
