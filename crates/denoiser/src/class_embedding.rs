use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::tensor::{Device, Int, Tensor};
use latent_text_nn::{embedding, linear};

/// A learned row for every class, and one for the null class behind them, brought to the width of
/// the noise level's embedding.
#[derive(Module, Debug)]
pub(crate) struct ClassEmbedding {
    pub(crate) table: Embedding,
    pub(crate) projection: Linear,
}

impl ClassEmbedding {
    pub(crate) fn new(classes: usize, dim: usize, time_dim: usize, device: &Device) -> Self {
        Self {
            table: class_table(classes, dim, device),
            projection: LinearConfig::new(dim, time_dim).init(device),
        }
    }

    /// Class indices `[batch]` to `[batch, time_dim]`; the null class, `[1, time_dim]`, without any.
    pub(crate) fn forward(&self, classes: Option<Tensor<1, Int>>) -> Tensor<2> {
        linear(&self.projection, class_rows(&self.table, classes))
    }
}

/// A table of so many classes and the null class.
pub(crate) fn class_table(classes: usize, dim: usize, device: &Device) -> Embedding {
    EmbeddingConfig::new(classes + 1, dim).init(device)
}

/// The rows of these classes, `[batch, dim]`; that of the null class, `[1, dim]`, without any.
pub(crate) fn class_rows(table: &Embedding, classes: Option<Tensor<1, Int>>) -> Tensor<2> {
    match classes {
        Some(classes) => embedding(table.weight.val(), classes.unsqueeze_dim(1)).squeeze_dim(1),
        None => {
            let [rows, _] = table.weight.dims();
            table.weight.val().slice_dim(0, rows - 1..rows)
        }
    }
}
