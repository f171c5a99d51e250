use burn::tensor::Tensor;
use latent_text_kernels::{Mapping, Tensors};

/// Noise levels as a network's layers are told of them, by
/// [`DenoisingNetwork::embed`](crate::DenoisingNetwork::embed).
///
/// For each level it takes `(1 + 2 * depth) * dim` numbers of memory, in class-conditional denoisers less.
#[derive(Clone, Debug)]
pub struct EmbeddedTime(
    /// A row for each level: the joined terms, or where a class is still to be added the embedding.
    pub(crate) Tensor<2>,
);

impl EmbeddedTime {
    /// One of the levels, for all samples of a batch.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn level(&self, index: usize) -> Self {
        Self(self.0.clone().slice_dim(0, index..index + 1))
    }
}

impl Tensors for EmbeddedTime {
    fn map_tensors(&self, mapping: &mut Mapping<'_>) -> Self {
        Self(self.0.map_tensors(mapping))
    }
}
