use burn::module::Module;
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use latent_text_nn::{Attention, layer_norm, linear};

use crate::PerceiverConfig;
use crate::feed_forward::FeedForward;
use crate::head_norm::HeadNorm;
use crate::positions::Positions;

/// A transformer from latents to states of the language model's width.
#[derive(Module, Debug)]
pub(crate) struct Reconstruction {
    input: Linear,
    positions: Positions,
    layers: Vec<Layer>,
    final_norm: LayerNorm,
}

#[derive(Module, Debug)]
struct Layer {
    attention: SelfAttention,
    feed_forward: FeedForward,
}

impl Reconstruction {
    pub(crate) fn new(config: &PerceiverConfig, device: &Device) -> Self {
        let dim = config.dim_lm;
        let layer = || Layer {
            attention: SelfAttention::new(dim, config.head_dim, device),
            feed_forward: FeedForward::new(dim, config.ff_mult, device),
        };
        Self {
            input: LinearConfig::new(config.latent_dim, dim).init(device),
            positions: Positions::new(config.latents, dim, device),
            layers: (0..config.layers).map(|_| layer()).collect(),
            final_norm: LayerNormConfig::new(dim).init(device),
        }
    }

    /// Latents `[batch, latents, latent_dim]` to states `[batch, latents, dim_lm]`.
    pub(crate) fn forward(&self, latents: Tensor<3>) -> Tensor<3> {
        let latents = latents.cast(self.input.weight.dtype());
        let mut h = self.positions.add_to(linear(&self.input, latents));
        for layer in &self.layers {
            h = h.clone() + layer.attention.forward(h);
            h = h.clone() + layer.feed_forward.forward(h);
        }
        layer_norm(&self.final_norm, h)
    }
}

#[derive(Module, Debug)]
struct SelfAttention {
    norm: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    query_norm: HeadNorm,
    key_norm: HeadNorm,
    output: Linear,
    heads: usize,
}

impl SelfAttention {
    fn new(dim: usize, head_dim: usize, device: &Device) -> Self {
        let projection = || LinearConfig::new(dim, dim).with_bias(false).init(device);
        Self {
            norm: LayerNormConfig::new(dim).init(device),
            query: projection(),
            key: projection(),
            value: projection(),
            query_norm: HeadNorm::new(head_dim, device),
            key_norm: HeadNorm::new(head_dim, device),
            output: LinearConfig::new(dim, dim).init(device),
            heads: dim / head_dim,
        }
    }

    /// What the branch adds to `h`; `[batch, latents, dim_lm]` in and out.
    fn forward(&self, h: Tensor<3>) -> Tensor<3> {
        let h = layer_norm(&self.norm, h);
        let query = self.query_norm.forward(linear(&self.query, h.clone()));
        let key = self.key_norm.forward(linear(&self.key, h.clone()));
        let head_dim = query.dims()[2] / self.heads;
        let attention = Attention {
            heads: self.heads,
            scale: (head_dim as f64).powf(-0.5),
            bias: None,
            dropout: None,
        };
        linear(&self.output, attention.forward(query, key, linear(&self.value, h)))
    }
}
