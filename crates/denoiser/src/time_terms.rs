use burn::nn::Linear;
use burn::tensor::Tensor;
use burn::tensor::activation::gelu;
use latent_text_nn::linear;

use crate::transformer::Transformer;

/// What the stream and its layers are told of noise level and class, of each sample or of all.
pub(crate) struct TimeTerms {
    /// Added to every latent before the first layer, `[batch or 1, dim]`.
    pub(crate) shift: Tensor<2>,
    /// Scale and shift of each layer, `[batch or 1, 2 * dim]`.
    pub(crate) modulation: Vec<Tensor<2>>,
}

impl TimeTerms {
    /// Those of a condition, `[batch or 1, time_dim]`.
    pub(crate) fn new(condition: Tensor<2>, projection: &Linear, layers: &Transformer) -> Self {
        let time = gelu(condition);
        Self { shift: linear(projection, time.clone()), modulation: layers.modulation(time) }
    }

    /// All side by side, `[batch or 1, (1 + 2 * layers) * dim]`.
    pub(crate) fn join(self) -> Tensor<2> {
        let mut terms = vec![self.shift];
        terms.extend(self.modulation);
        Tensor::cat(terms, 1)
    }

    /// What [`join`](Self::join) put side by side.
    pub(crate) fn split(joined: Tensor<2>, dim: usize) -> Self {
        let [_, width] = joined.dims();
        let columns = |first, count| joined.clone().slice_dim(1, first..first + count);
        Self {
            shift: columns(0, dim),
            modulation: (dim..width)
                .step_by(2 * dim)
                .map(|first| columns(first, 2 * dim))
                .collect(),
        }
    }
}
