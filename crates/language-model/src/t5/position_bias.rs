use std::ops::Range;

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use latent_text_nn::PositionBuckets;

/// A learnt bias of the attention logits for every head and every bucket of relative positions
/// (Raffel et al., 2020, section 2.1). One table serves all layers of a stack.
#[derive(Module, Debug)]
pub(super) struct RelativePositionBias {
    /// `[buckets, heads]`
    pub(super) weight: Param<Tensor<2>>,
    #[module(skip)]
    pub(super) buckets: PositionBuckets,
}

impl RelativePositionBias {
    /// What queries at these positions add to their logits of the first `keys` positions, in f32:
    /// `[1, heads, queries, keys]`.
    pub(super) fn forward(&self, queries: Range<usize>, keys: usize) -> Tensor<4> {
        self.buckets.bias(self.weight.val(), queries, keys)
    }

    /// What a query adds to its logits of the `count` positions up to its own, by their distance from 0
    /// on, in f32: `[heads, count]`.
    pub(super) fn by_distance(&self, count: usize) -> Tensor<2> {
        let [_, heads] = self.weight.dims();
        self.forward(count - 1..count, count).reshape([heads, count]).flip([1])
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use burn::tensor::Device;
    use latent_text_nn::PositionBuckets;
    use latent_text_nn::weights::TensorFile;

    #[test]
    fn buckets_are_those_of_transformers() {
        let folder = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap());
        let file = TensorFile::open(&folder.join("tests/fixtures/t5/buckets.safetensors")).unwrap();
        for name in file.names() {
            let numbers: Vec<usize> = name.split('.').map(|part| part.parse().unwrap()).collect();
            let [count, max_distance, bidirectional] = numbers[..] else { panic!("{name}") };
            let bidirectional = bidirectional == 1;
            let buckets = PositionBuckets { count, max_distance, bidirectional };
            let expected = file.ints::<1>(&name, &Device::default()).unwrap();
            let expected = expected.try_into_vec_as::<i64>().unwrap();
            let found: Vec<i64> =
                (-600..=600).map(|relative| buckets.bucket_of(relative) as i64).collect();
            assert_eq!(found, expected, "{name}");
        }
    }
}
