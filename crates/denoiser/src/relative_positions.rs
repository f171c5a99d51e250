use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};
use latent_text_nn::PositionBuckets;

/// A learnt bias of the attention logits for every head and every bucket of relative positions, as in
/// T5 (Raffel et al., 2020, section 2.1). One table serves all layers.
#[derive(Module, Debug)]
pub(crate) struct RelativePositions {
    /// `[buckets, heads]`
    weight: Param<Tensor<2>>,
    #[module(skip)]
    buckets: PositionBuckets,
    /// LD4LG adds the bias to logits that are scaled already, this many times.
    #[module(skip)]
    factor: f64,
}

impl RelativePositions {
    pub(crate) fn new(
        buckets: PositionBuckets,
        heads: usize,
        head_dim: usize,
        device: &Device,
    ) -> Self {
        Self {
            weight: Initializer::Normal { mean: 0.0, std: 1.0 }
                .init([buckets.count, heads], device),
            buckets,
            factor: (head_dim as f64).sqrt(),
        }
    }

    /// What is added to the logits between `length` vectors, `[1, heads, length, length]` in f32.
    pub(crate) fn bias(&self, length: usize) -> Tensor<4> {
        self.buckets.bias(self.weight.val(), 0..length, length) * self.factor
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;

    use super::*;

    #[test]
    fn the_bias_of_a_pair_is_its_buckets_row_times_the_factor() {
        let device = Device::default();
        let table: Vec<f32> = (0..16).map(|value| value as f32).collect();
        let positions = RelativePositions {
            weight: Param::from_tensor(Tensor::from_data(TensorData::new(table, [8, 2]), &device)),
            buckets: PositionBuckets { count: 8, max_distance: 16, bidirectional: true },
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
