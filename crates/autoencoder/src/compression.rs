use burn::module::{Module, Param};
use burn::nn::{Initializer, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::{Bool, Device, Tensor};
use latent_text_nn::{Attention, hiding_bias, layer_norm, linear};

use crate::PerceiverConfig;
use crate::feed_forward::FeedForward;
use crate::head_norm::HeadNorm;
use crate::positions::Positions;

/// A Perceiver resampler: latent queries that look at the text and at each other.
#[derive(Module, Debug)]
pub(crate) struct Compression {
    /// The queries at the start, `[latents, latent_dim]`.
    latents: Param<Tensor<2>>,
    positions: Positions,
    layers: Vec<Layer>,
    final_norm: LayerNorm,
}

#[derive(Module, Debug)]
struct Layer {
    attention: ResamplerAttention,
    feed_forward: FeedForward,
}

impl Compression {
    pub(crate) fn new(config: &PerceiverConfig, device: &Device) -> Self {
        let layer = || Layer {
            attention: ResamplerAttention::new(config, device),
            feed_forward: FeedForward::new(config.latent_dim, config.ff_mult, device),
        };
        Self {
            latents: Initializer::Normal { mean: 0.0, std: 0.02 }
                .init([config.latents, config.latent_dim], device),
            positions: Positions::new(config.max_tokens, config.dim_lm, device),
            layers: (0..config.layers).map(|_| layer()).collect(),
            final_norm: LayerNormConfig::new(config.latent_dim).init(device),
        }
    }

    /// States `[batch, tokens, dim_lm]` and their mask `[batch, tokens]` to latents
    /// `[batch, latents, latent_dim]`.
    pub(crate) fn forward(&self, states: Tensor<3>, mask: Option<Tensor<2, Bool>>) -> Tensor<3> {
        let latents = self.latents.val();
        let [batch, _, _] = states.dims();
        let [count, dim] = latents.dims();
        let text = self.positions.add_to(states.cast(latents.dtype()));
        let hiding = mask.map(|mask| hiding_bias(with_latents(mask, count)));
        let mut z = latents.unsqueeze_dim::<3>(0).expand([batch, count, dim]);
        for layer in &self.layers {
            z = z.clone() + layer.attention.forward(text.clone(), z, hiding.clone());
            z = z.clone() + layer.feed_forward.forward(z);
        }
        layer_norm(&self.final_norm, z)
    }
}

/// The mask of `[text; latents]` for attention, `[batch, 1, 1, tokens + latents]`: latents are
/// always visible.
fn with_latents(mask: Tensor<2, Bool>, latents: usize) -> Tensor<4, Bool> {
    let [batch, _] = mask.dims();
    let all = Tensor::full([batch, latents], true, &mask.device());
    Tensor::cat(vec![mask, all], 1).unsqueeze_dims(&[1, 1])
}

/// Attention of the latents to the text and to themselves.
#[derive(Module, Debug)]
struct ResamplerAttention {
    text_norm: LayerNorm,
    latent_norm: LayerNorm,
    query: Linear,
    /// Keys, then values, of the text.
    text_key_value: Linear,
    /// The same of the latents; none if they are as wide as the text's states and share its matrix.
    latent_key_value: Option<Linear>,
    query_norm: HeadNorm,
    key_norm: HeadNorm,
    output: Linear,
    heads: usize,
}

impl ResamplerAttention {
    fn new(config: &PerceiverConfig, device: &Device) -> Self {
        let (text, latent, inner) = (config.dim_lm, config.latent_dim, config.inner_dim());
        let key_value = |dim| LinearConfig::new(dim, 2 * inner).with_bias(false).init(device);
        Self {
            text_norm: LayerNormConfig::new(text).init(device),
            latent_norm: LayerNormConfig::new(latent).init(device),
            query: LinearConfig::new(latent, inner).with_bias(false).init(device),
            text_key_value: key_value(text),
            latent_key_value: (latent != text).then(|| key_value(latent)),
            query_norm: HeadNorm::new(config.head_dim, device),
            key_norm: HeadNorm::new(config.head_dim, device),
            output: LinearConfig::new(inner, latent).init(device),
            heads: inner / config.head_dim,
        }
    }

    /// What the branch adds to the latents.
    fn forward(&self, text: Tensor<3>, latents: Tensor<3>, hiding: Option<Tensor<4>>) -> Tensor<3> {
        let text = layer_norm(&self.text_norm, text);
        let latents = layer_norm(&self.latent_norm, latents);
        let query = self.query_norm.forward(linear(&self.query, latents.clone()));
        let (key, value) = self.keys_and_values(text, latents);
        let head_dim = query.dims()[2] / self.heads;
        let attention = Attention {
            heads: self.heads,
            scale: (head_dim as f64).powf(-0.5),
            bias: hiding,
            dropout: None,
        };
        linear(&self.output, attention.forward(query, self.key_norm.forward(key), value))
    }

    /// Of the text, then of the latents: `[batch, tokens + latents, inner]` each.
    fn keys_and_values(&self, text: Tensor<3>, latents: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
        let latent_key_value = self.latent_key_value.as_ref().unwrap_or(&self.text_key_value);
        let text = linear(&self.text_key_value, text);
        let both = Tensor::cat(vec![text, linear(latent_key_value, latents)], 1);
        let inner = both.dims()[2] / 2;
        (both.clone().slice_dim(2, 0..inner), both.slice_dim(2, inner..2 * inner))
    }
}
