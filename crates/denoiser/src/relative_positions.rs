use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, FloatDType, Int, Tensor, TensorData};

/// A learnt bias of the attention logits for every head and every bucket of relative positions, as in
/// T5 (Raffel et al., 2020, section 2.1). One table serves all layers.
#[derive(Module, Debug)]
pub(crate) struct RelativePositions {
    /// `[buckets, heads]`
    weight: Param<Tensor<2>>,
    #[module(skip)]
    buckets: Buckets,
    /// LD4LG adds the bias to logits that are scaled already, this many times.
    #[module(skip)]
    factor: f64,
}

/// Which relative positions share a bias.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buckets {
    /// A multiple of 4.
    pub(crate) count: usize,
    /// From here on all distances are in the last bucket.
    pub(crate) max_distance: usize,
}

impl RelativePositions {
    pub(crate) fn new(buckets: Buckets, heads: usize, head_dim: usize, device: &Device) -> Self {
        Self {
            weight: Initializer::Normal { mean: 0.0, std: 1.0 }
                .init([buckets.count, heads], device),
            buckets,
            factor: (head_dim as f64).sqrt(),
        }
    }

    /// What is added to the logits between `length` vectors, `[1, heads, length, length]` in f32.
    pub(crate) fn bias(&self, length: usize) -> Tensor<4> {
        let table = self.weight.val().cast(FloatDType::F32) * self.factor;
        let [_, heads] = table.dims();
        let buckets: Vec<i64> = (0..length)
            .flat_map(|query| (0..length).map(move |key| key as i64 - query as i64))
            .map(|relative| self.buckets.of(relative) as i64)
            .collect();
        let buckets: Tensor<1, Int> =
            Tensor::from_data(TensorData::new(buckets, [length * length]), &table.device());
        table.select(0, buckets).reshape([1, length, length, heads]).permute([0, 3, 1, 2])
    }
}

impl Buckets {
    /// The bucket of a key that is `relative` positions behind its query: the first half is for keys
    /// at or before it. Half of each half holds one distance a bucket, the rest grows exponentially.
    fn of(self, relative: i64) -> usize {
        let half = self.count / 2;
        let first = if relative > 0 { half } else { 0 };
        first + distance_bucket(relative.unsigned_abs() as usize, half, self.max_distance)
    }
}

fn distance_bucket(distance: usize, count: usize, max_distance: usize) -> usize {
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
    use super::*;

    #[test]
    fn close_positions_have_their_own_buckets_and_far_ones_share() {
        let buckets = Buckets { count: 32, max_distance: 128 };
        for distance in 0..8 {
            assert_eq!(buckets.of(-distance), distance as usize);
        }
        for distance in 1..8 {
            assert_eq!(buckets.of(distance), 16 + distance as usize);
        }
        // Borders at 8 * 16^(i / 8), rounded up.
        let borders = [8, 12, 16, 23, 32, 46, 64, 91];
        for (index, &border) in borders.iter().enumerate() {
            assert_eq!(buckets.of(-border), 8 + index, "{border}");
            assert_eq!(buckets.of(border), 24 + index, "{border}");
            assert_eq!(buckets.of(1 - border), 7 + index, "{border}");
        }
        assert_eq!(buckets.of(-100_000), 15);
        assert_eq!(buckets.of(100_000), 31);
    }

    #[test]
    fn the_bias_of_a_pair_is_its_buckets_row_times_the_factor() {
        let device = Device::default();
        let table: Vec<f32> = (0..16).map(|value| value as f32).collect();
        let positions = RelativePositions {
            weight: Param::from_tensor(Tensor::from_data(TensorData::new(table, [8, 2]), &device)),
            buckets: Buckets { count: 8, max_distance: 16 },
            factor: 3.0,
        };
        let bias = positions.bias(3);
        assert_eq!(bias.dims(), [1, 2, 3, 3]);
        let bias = bias.try_into_vec_as::<f32>().unwrap();
        for head in 0..2 {
            for query in 0..3_usize {
                for key in 0..3_usize {
                    // Of 8 buckets, 0..4 are for keys at or before the query; both halves hold the
                    // distances 0 and 1 exactly, then 2 and what is near it.
                    let later = if key > query { 4 } else { 0 };
                    let bucket = later + key.abs_diff(query);
                    let expected = 3.0 * (2 * bucket + head) as f32;
                    assert_eq!(bias[(head * 3 + query) * 3 + key], expected, "{query} {key}");
                }
            }
        }
    }
}
