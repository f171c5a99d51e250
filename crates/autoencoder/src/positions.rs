use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig};
use burn::tensor::{Device, Tensor};

/// A learned table of absolute positions, read with the factor `1 / sqrt(dim)`.
#[derive(Module, Debug)]
pub(crate) struct Positions {
    table: Embedding,
}

impl Positions {
    pub(crate) fn new(length: usize, dim: usize, device: &Device) -> Self {
        Self { table: EmbeddingConfig::new(length, dim).init(device) }
    }

    /// `x`, of shape `[batch, length, dim]`, with its positions added.
    pub(crate) fn add_to(&self, x: Tensor<3>) -> Tensor<3> {
        let [_, length, dim] = x.dims();
        let [rows, _] = self.table.weight.dims();
        assert!(length <= rows, "{length} positions, but the table has {rows}");
        let rows = self.table.weight.val().slice_dim(0, 0..length);
        x + (rows * (dim as f64).powf(-0.5)).unsqueeze_dim(0)
    }
}
