use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, Initializer, LayerNorm, LayerNormConfig};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::gelu;
use burn::tensor::{Device, Tensor};
use latent_text_nn::{layer_norm, linear};

use crate::transformer::TransformerShape;

/// The feed-forward branch of a layer: gated GELU between two layer norms, then a scale and a
/// shift that depend on noise level and class.
#[derive(Module, Debug)]
pub(crate) struct FeedForward {
    norm: LayerNorm,
    value_and_gate: Linear,
    dropout: Dropout,
    output: Linear,
    pub(crate) output_norm: LayerNorm,
    scale_and_shift: Linear,
}

impl FeedForward {
    pub(crate) fn new(shape: &TransformerShape, device: &Device) -> Self {
        let (dim, inner) = (shape.dim, shape.dim * shape.ff_mult);
        Self {
            norm: LayerNormConfig::new(dim).init(device),
            value_and_gate: LinearConfig::new(dim, 2 * inner).init(device),
            dropout: DropoutConfig::new(shape.dropout).init(),
            output: LinearConfig::new(inner, dim).init(device),
            output_norm: LayerNormConfig::new(dim).init(device),
            scale_and_shift: LinearConfig::new(shape.time_dim, 2 * dim)
                .with_initializer(Initializer::Zeros)
                .init(device),
        }
    }

    /// What the branch adds to the stream `h`, both `[batch, latents, dim]`; `time` is the
    /// activated condition, `[batch, time_dim]`.
    pub(crate) fn forward(&self, h: Tensor<3>, time: Tensor<2>) -> Tensor<3> {
        let (value, gate) = halves(linear(&self.value_and_gate, layer_norm(&self.norm, h)));
        let inner = self.dropout.forward(value * gelu(gate));
        let y = layer_norm(&self.output_norm, linear(&self.output, inner));
        let (scale, shift) = halves(linear(&self.scale_and_shift, time).unsqueeze_dim(1));
        y * (scale + 1.0) + shift
    }
}

/// Both halves of the last dimension.
fn halves(x: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
    let width = x.dims()[2] / 2;
    (x.clone().slice_dim(2, 0..width), x.slice_dim(2, width..2 * width))
}
