use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::tensor::{Device, Int, Tensor};
use latent_text_nn::{embedding, linear};

/// A learned row for every class, and one for the null class behind them.
#[derive(Module, Debug)]
pub(crate) struct ClassEmbedding {
    pub(crate) table: Embedding,
    pub(crate) projection: Linear,
}

impl ClassEmbedding {
    pub(crate) fn new(classes: usize, dim: usize, time_dim: usize, device: &Device) -> Self {
        Self {
            table: EmbeddingConfig::new(classes + 1, dim).init(device),
            projection: LinearConfig::new(dim, time_dim).init(device),
        }
    }

    /// Class indices `[batch]` to `[batch, time_dim]`.
    pub(crate) fn forward(&self, classes: Tensor<1, Int>) -> Tensor<2> {
        let rows = embedding(self.table.weight.val(), classes.unsqueeze_dim(1));
        linear(&self.projection, rows.squeeze_dim(1))
    }

    /// The null class, `[1, time_dim]`.
    pub(crate) fn null_class(&self) -> Tensor<2> {
        let [rows, _] = self.table.weight.dims();
        linear(&self.projection, self.table.weight.val().slice_dim(0, rows - 1..rows))
    }
}
