use burn::tensor::{Bool, Int, Tensor};
use latent_text_kernels::{Mapping, Tensors};

use crate::attention::KeysValues;

/// What the cross-attention of every layer sees.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// Keys and values for each layer, of as many contexts as samples or of one for all.
    pub(crate) layers: Vec<KeysValues>,
    /// Where the context is real, `[batch, length]`; none if everywhere.
    pub(crate) mask: Option<Tensor<2, Bool>>,
}

impl Tensors for Context {
    fn map_tensors(&self, mapping: &mut Mapping<'_>) -> Self {
        Self { layers: self.layers.map_tensors(mapping), mask: self.mask.map_tensors(mapping) }
    }
}

impl Context {
    /// What a layer sees, for a batch of this size.
    ///
    /// # Panics
    /// If there are several contexts, but not as many as samples.
    pub(crate) fn of_layer(&self, layer: usize, batch: usize) -> KeysValues {
        let seen = &self.layers[layer];
        match seen.batch() {
            contexts if contexts == batch => seen.clone(),
            1 => seen.for_batch(batch),
            contexts => panic!("{contexts} contexts do not fit a batch of {batch} samples"),
        }
    }
}

/// A context `[batch, length, dim]` and its mask, with the vector `null`, `[1, dim]`, and nothing
/// else, for the samples where `present`, `[batch]`, is false.
pub(crate) fn null_where_absent(
    context: Tensor<3>,
    mask: Option<Tensor<2, Bool>>,
    present: Option<Tensor<1, Bool>>,
    null: Tensor<2>,
) -> (Tensor<3>, Option<Tensor<2, Bool>>) {
    let Some(present) = present else { return (context, mask) };
    let [batch, length, dim] = context.dims();
    let nulls = null.unsqueeze_dim::<3>(0).expand([batch, length, dim]);
    let chosen = present.clone().unsqueeze_dims::<3>(&[1, 2]).expand([batch, length, dim]);
    let context = nulls.mask_where(chosen, context);

    let present = present.unsqueeze_dim::<2>(1).expand([batch, length]);
    let absent = present.clone().bool_not();
    let first = Tensor::<1, Int>::arange(0..length as i64, &context.device()).equal_elem(0);
    let null_alone = absent.bool_and(first.unsqueeze_dim::<2>(0).expand([batch, length]));
    let real = match mask {
        Some(mask) => mask.bool_and(present),
        None => present,
    };
    (context, Some(real.bool_or(null_alone)))
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn absent_samples_see_the_null_vector_alone() {
        let device = Device::default();
        let context = Tensor::<3>::ones([3, 2, 1], &device);
        let mask = Tensor::from_data([[true, false], [false, true], [true, true]], &device);
        let present = Tensor::from_data([true, false, true], &device);
        let null = Tensor::from_data([[7.0]], &device);
        let (context, mask) = null_where_absent(context, Some(mask), Some(present), null);
        let values = context.try_into_vec_as::<f32>().unwrap();
        assert_eq!(values, [1.0, 1.0, 7.0, 7.0, 1.0, 1.0]);
        let mask = mask.unwrap().int().try_into_vec_as::<i64>().unwrap();
        assert_eq!(mask, [1, 0, 1, 0, 1, 1]);
    }
}
