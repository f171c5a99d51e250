use burn::module::Module;
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use latent_text_kernels::{
    AttentionSettings, DropoutSite, Mapping, Tensors, cross_attention, self_attention,
};
use latent_text_nn::{JoinedLinear, layer_norm, linear, linear_onto};

use crate::transformer::TransformerShape;

/// An attention branch of a layer to the stream itself: layer norm first, no biases of the projections.
#[derive(Module, Debug)]
pub(crate) struct SelfAttention {
    norm: LayerNorm,
    query_key_value: JoinedLinear,
    pub(crate) output: Linear,
    heads: usize,
}

/// An attention branch of a layer to a context.
#[derive(Module, Debug)]
pub(crate) struct CrossAttention {
    norm: LayerNorm,
    query: Linear,
    key_value: JoinedLinear,
    output: Linear,
    heads: usize,
}

/// What an attention to a context sees: `[batch, length, 2 * dim]`, the values behind the keys.
#[derive(Clone, Debug)]
pub(crate) struct KeysValues(Tensor<3>);

impl Tensors for KeysValues {
    fn map_tensors(&self, mapping: &mut Mapping<'_>) -> Self {
        Self(self.0.map_tensors(mapping))
    }
}

impl SelfAttention {
    pub(crate) fn new(shape: &TransformerShape, device: &Device) -> Self {
        Self {
            norm: LayerNormConfig::new(shape.dim).init(device),
            query_key_value: JoinedLinear::new(shape.dim, shape.dim, 3, device),
            output: projection(shape.dim, device),
            heads: shape.heads(),
        }
    }

    /// The stream `h` behind this branch, both `[batch, latents, dim]`. `bias`, in f32 and
    /// broadcastable to `[batch, heads, latents, latents]`, is added to the logits.
    pub(crate) fn forward(
        &self,
        h: Tensor<3>,
        bias: Option<Tensor<4>>,
        dropout: Option<DropoutSite>,
    ) -> Tensor<3> {
        let qkv = self.query_key_value.forward(layer_norm(&self.norm, h.clone()));
        let settings = settings(h.dims()[2], self.heads, bias, dropout);
        linear_onto(&self.output, self_attention(qkv, &settings), h)
    }
}

impl CrossAttention {
    pub(crate) fn new(shape: &TransformerShape, device: &Device) -> Self {
        Self {
            norm: LayerNormConfig::new(shape.dim).init(device),
            query: projection(shape.dim, device),
            key_value: JoinedLinear::new(shape.dim, shape.dim, 2, device),
            output: projection(shape.dim, device),
            heads: shape.heads(),
        }
    }

    /// Keys and values of a context, `[batch, length, dim]`.
    pub(crate) fn read(&self, context: Tensor<3>) -> KeysValues {
        KeysValues(self.key_value.forward(context))
    }

    /// The stream behind attention to a context, [read](Self::read) before.
    pub(crate) fn forward(
        &self,
        h: Tensor<3>,
        seen: KeysValues,
        bias: Option<Tensor<4>>,
        dropout: Option<DropoutSite>,
    ) -> Tensor<3> {
        let query = linear(&self.query, layer_norm(&self.norm, h.clone()));
        let settings = settings(h.dims()[2], self.heads, bias, dropout);
        linear_onto(&self.output, cross_attention(query, seen.0, &settings), h)
    }
}

fn projection(dim: usize, device: &Device) -> Linear {
    LinearConfig::new(dim, dim).with_bias(false).init(device)
}

fn settings(
    dim: usize,
    heads: usize,
    bias: Option<Tensor<4>>,
    dropout: Option<DropoutSite>,
) -> AttentionSettings {
    let scale = ((dim / heads) as f64).powf(-0.5);
    AttentionSettings { heads, scale, bias, dropout }
}

impl KeysValues {
    /// Those of one context for each sample of a batch.
    pub(crate) fn for_batch(&self, batch: usize) -> Self {
        let [_, length, width] = self.0.dims();
        Self(self.0.clone().expand([batch, length, width]))
    }

    /// Number of contexts.
    pub(crate) fn batch(&self) -> usize {
        self.0.dims()[0]
    }
}
