use burn::module::{Module, Param};
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::tensor::{Bool, Device, Tensor};
use latent_text_nn::linear;

use crate::Source;
use crate::context::null_where_absent;

/// Brings a source encoder's states to the transformer's width; knows what stands for no source.
#[derive(Module, Debug)]
pub(crate) struct SourceReader {
    projection: Linear,
    /// `[1, dim]`
    null: Param<Tensor<2>>,
}

impl SourceReader {
    pub(crate) fn new(source_dim: usize, dim: usize, device: &Device) -> Self {
        Self {
            projection: LinearConfig::new(source_dim, dim).init(device),
            null: Initializer::Normal { mean: 0.0, std: 1.0 }.init([1, dim], device),
        }
    }

    /// The context `[batch, tokens, dim]` that sources make, and which of it is real.
    pub(crate) fn forward(&self, source: Source) -> (Tensor<3>, Option<Tensor<2, Bool>>) {
        let states = source.states.cast(self.projection.weight.dtype());
        let context = linear(&self.projection, states);
        null_where_absent(context, source.mask, source.present, self.null.val())
    }

    /// The context of no source, `[1, 1, dim]`.
    pub(crate) fn null(&self) -> Tensor<3> {
        self.null.val().unsqueeze_dim(0)
    }
}
