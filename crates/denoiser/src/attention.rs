use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use latent_text_nn::{biased_attention, layer_norm, linear, merge_heads, split_heads};

use crate::transformer::TransformerShape;

/// An attention branch of a layer, to the stream itself or to a context: layer norm of the stream
/// first, no biases of the projections.
#[derive(Module, Debug)]
pub(crate) struct Attention {
    norm: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    pub(crate) output: Linear,
    dropout: Dropout,
    heads: usize,
}

/// What an attention sees, both `[batch, heads, length, head_dim]`.
#[derive(Clone, Debug)]
pub(crate) struct KeysValues {
    keys: Tensor<4>,
    values: Tensor<4>,
}

impl Attention {
    pub(crate) fn new(shape: &TransformerShape, device: &Device) -> Self {
        let projection = || LinearConfig::new(shape.dim, shape.dim).with_bias(false).init(device);
        Self {
            norm: LayerNormConfig::new(shape.dim).init(device),
            query: projection(),
            key: projection(),
            value: projection(),
            output: projection(),
            dropout: DropoutConfig::new(shape.dropout).init(),
            heads: shape.heads(),
        }
    }

    /// What self-attention adds to the stream `h`, both `[batch, latents, dim]`. `bias`, in f32 and
    /// broadcastable to `[batch, heads, latents, latents]`, is added to the logits.
    pub(crate) fn to_stream(&self, h: Tensor<3>, bias: Option<Tensor<4>>) -> Tensor<3> {
        let h = layer_norm(&self.norm, h);
        let seen = self.read(h.clone());
        self.attend(h, seen, bias)
    }

    /// What attention to a context, [read](Self::read) before, adds to the stream.
    pub(crate) fn to_context(
        &self,
        h: Tensor<3>,
        seen: KeysValues,
        bias: Option<Tensor<4>>,
    ) -> Tensor<3> {
        self.attend(layer_norm(&self.norm, h), seen, bias)
    }

    /// Keys and values of `x`, `[batch, length, dim]`.
    pub(crate) fn read(&self, x: Tensor<3>) -> KeysValues {
        KeysValues {
            keys: split_heads(linear(&self.key, x.clone()), self.heads),
            values: split_heads(linear(&self.value, x), self.heads),
        }
    }

    fn attend(&self, h: Tensor<3>, seen: KeysValues, bias: Option<Tensor<4>>) -> Tensor<3> {
        let query = split_heads(linear(&self.query, h), self.heads);
        let query = query.clone() * (query.dims()[3] as f64).powf(-0.5);
        let KeysValues { keys, values } = seen;
        let attended = biased_attention(query, keys, values, bias, &self.dropout);
        linear(&self.output, merge_heads(attended))
    }
}

impl KeysValues {
    /// Those of one context for each sample of a batch.
    pub(crate) fn for_batch(&self, batch: usize) -> Self {
        let [_, heads, length, head_dim] = self.keys.dims();
        let expand = |x: &Tensor<4>| x.clone().expand([batch, heads, length, head_dim]);
        Self { keys: expand(&self.keys), values: expand(&self.values) }
    }

    /// Number of contexts.
    pub(crate) fn batch(&self) -> usize {
        self.keys.dims()[0]
    }
}
