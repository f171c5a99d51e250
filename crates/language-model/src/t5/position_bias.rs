use std::ops::Range;

use burn::module::{Module, Param};
use burn::tensor::{FloatDType, Int, Tensor, TensorData};

/// A learnt bias of the attention logits for every head and every bucket of relative positions
/// (Raffel et al., 2020, section 2.1). One table serves all layers of a stack.
#[derive(Module, Debug)]
pub(super) struct RelativePositionBias {
    /// `[buckets, heads]`
    pub(super) weight: Param<Tensor<2>>,
    #[module(skip)]
    pub(super) buckets: Buckets,
}

/// Which relative positions share a bias.
#[derive(Debug, Clone, Copy)]
pub(super) struct Buckets {
    pub(super) count: usize,
    /// From here on all distances are in the last bucket.
    pub(super) max_distance: usize,
    /// Whether later positions have buckets of their own; if not, they share that of distance 0.
    pub(super) bidirectional: bool,
}

impl RelativePositionBias {
    /// What queries at these positions add to their logits of the first `keys` positions, in f32:
    /// `[1, heads, queries, keys]`.
    pub(super) fn forward(&self, queries: Range<usize>, keys: usize) -> Tensor<4> {
        let table = self.weight.val().cast(FloatDType::F32);
        let [_, heads] = table.dims();
        let count = queries.len();
        let buckets: Vec<i64> = queries
            .flat_map(|query| (0..keys).map(move |key| key as i64 - query as i64))
            .map(|relative| self.buckets.of(relative) as i64)
            .collect();
        let buckets: Tensor<1, Int> =
            Tensor::from_data(TensorData::new(buckets, [count * keys]), &table.device());
        // Heads first, so that the result lies in memory as the logits do.
        table.transpose().select(1, buckets).reshape([1, heads, count, keys])
    }
}

impl Buckets {
    /// The bucket of a key that is `relative` positions behind its query.
    fn of(self, relative: i64) -> usize {
        let distance = relative.unsigned_abs() as usize;
        if !self.bidirectional {
            return bucket(if relative < 0 { distance } else { 0 }, self.count, self.max_distance);
        }
        let half = self.count / 2;
        let first = if relative > 0 { half } else { 0 };
        first + bucket(distance, half, self.max_distance)
    }
}

/// Half of the buckets hold one distance each; the widths of the others grow exponentially.
fn bucket(distance: usize, count: usize, max_distance: usize) -> usize {
    let exact = count / 2;
    if distance < exact {
        return distance;
    }
    // In f32, which decides on which side of a border a distance falls.
    let depth = (distance as f32 / exact as f32).ln()
        / (max_distance as f64 / exact as f64).ln() as f32
        * (count - exact) as f32;
    (exact + depth as usize).min(count - 1)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use burn::tensor::Device;
    use latent_text_nn::weights::TensorFile;

    use super::Buckets;

    #[test]
    fn buckets_are_those_of_transformers() {
        let folder = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap());
        let file = TensorFile::open(&folder.join("tests/fixtures/t5/buckets.safetensors")).unwrap();
        for name in file.names() {
            let numbers: Vec<usize> = name.split('.').map(|part| part.parse().unwrap()).collect();
            let [count, max_distance, bidirectional] = numbers[..] else { panic!("{name}") };
            let buckets = Buckets { count, max_distance, bidirectional: bidirectional == 1 };
            let expected = file.ints::<1>(&name, &Device::default()).unwrap();
            let expected = expected.try_into_vec_as::<i64>().unwrap();
            let found: Vec<i64> =
                (-600..=600).map(|relative| buckets.of(relative) as i64).collect();
            assert_eq!(found, expected, "{name}");
        }
    }
}
