use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use latent_text_nn::{attention, layer_norm, linear, merge_heads, split_heads};

use crate::DenoiserConfig;

/// The self-attention branch of a layer: layer norm first, no biases.
#[derive(Module, Debug)]
pub(crate) struct SelfAttention {
    norm: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    pub(crate) output: Linear,
    dropout: Dropout,
    heads: usize,
}

impl SelfAttention {
    pub(crate) fn new(config: &DenoiserConfig, device: &Device) -> Self {
        let projection = || LinearConfig::new(config.dim, config.dim).with_bias(false).init(device);
        Self {
            norm: LayerNormConfig::new(config.dim).init(device),
            query: projection(),
            key: projection(),
            value: projection(),
            output: projection(),
            dropout: DropoutConfig::new(config.dropout).init(),
            heads: config.dim / config.head_dim,
        }
    }

    /// What the branch adds to the stream `h`, both `[batch, latents, dim]`.
    pub(crate) fn forward(&self, h: Tensor<3>) -> Tensor<3> {
        let h = layer_norm(&self.norm, h);
        let heads = |layer| split_heads(linear(layer, h.clone()), self.heads);
        let (query, key, value) = (heads(&self.query), heads(&self.key), heads(&self.value));
        let scale = (query.dims()[3] as f64).powf(-0.5);
        let attended = attention(query * scale, key, value, None, &self.dropout);
        linear(&self.output, merge_heads(attended))
    }
}
