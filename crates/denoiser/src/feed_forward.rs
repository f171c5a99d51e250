use burn::module::Module;
use burn::nn::{Initializer, LayerNorm, LayerNormConfig};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use latent_text_kernels::{DropoutSite, gated_gelu};
use latent_text_nn::{layer_norm, linear, modulated_norm};

use crate::transformer::TransformerShape;

/// The feed-forward branch of a layer: gated GELU between two layer norms, then a scale and a
/// shift that depend on noise level and class.
#[derive(Module, Debug)]
pub(crate) struct FeedForward {
    norm: LayerNorm,
    value_and_gate: Linear,
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
            output: LinearConfig::new(inner, dim).init(device),
            output_norm: LayerNormConfig::new(dim).init(device),
            scale_and_shift: LinearConfig::new(shape.time_dim, 2 * dim)
                .with_initializer(Initializer::Zeros)
                .init(device),
        }
    }

    /// Scale and shift, `[batch or 1, 2 * dim]`, by the activated condition, `[batch or 1, time_dim]`.
    pub(crate) fn modulation(&self, time: Tensor<2>) -> Tensor<2> {
        linear(&self.scale_and_shift, time)
    }

    /// The stream `h` behind this branch, both `[batch, latents, dim]`, with the
    /// [`modulation`](Self::modulation) of each sample or of all.
    pub(crate) fn forward(
        &self,
        h: Tensor<3>,
        modulation: Tensor<2>,
        dropout: Option<DropoutSite>,
    ) -> Tensor<3> {
        let gated = linear(&self.value_and_gate, layer_norm(&self.norm, h.clone()));
        let y = linear(&self.output, gated_gelu(gated, dropout.as_ref()));
        modulated_norm(&self.output_norm, y, modulation, h)
    }
}
