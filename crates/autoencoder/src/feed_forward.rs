use burn::module::Module;
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::gelu;
use burn::tensor::{Device, Tensor};
use latent_text_nn::{layer_norm, linear};

/// A feed-forward branch: layer norm, a hidden layer with GELU.
#[derive(Module, Debug)]
pub(crate) struct FeedForward {
    norm: LayerNorm,
    hidden: Linear,
    output: Linear,
}

impl FeedForward {
    pub(crate) fn new(dim: usize, mult: usize, device: &Device) -> Self {
        Self {
            norm: LayerNormConfig::new(dim).init(device),
            hidden: LinearConfig::new(dim, dim * mult).init(device),
            output: LinearConfig::new(dim * mult, dim).init(device),
        }
    }

    /// What the branch adds to `x`; `[batch, length, dim]` in and out.
    pub(crate) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let hidden = gelu(linear(&self.hidden, layer_norm(&self.norm, x)));
        linear(&self.output, hidden)
    }
}
