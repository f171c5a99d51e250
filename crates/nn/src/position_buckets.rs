use std::ops::Range;

use burn::tensor::{FloatDType, Int, Tensor, TensorData};

/// Which relative positions share a bias of the attention logits, as in T5 (Raffel et al., 2020,
/// section 2.1).
#[derive(Debug, Clone, Copy)]
pub struct PositionBuckets {
    /// Number of buckets: at least 4, and a multiple of 4 if `bidirectional`.
    pub count: usize,
    /// From here on all distances are in the last bucket; above half the buckets.
    pub max_distance: usize,
    /// Whether later positions have buckets of their own, the second half; if not, they share that of
    /// distance 0.
    pub bidirectional: bool,
}

impl PositionBuckets {
    /// What queries at these positions add to their logits of the first `keys` positions, in f32:
    /// `[1, heads, queries, keys]`, from a learnt `table` `[buckets, heads]`.
    pub fn bias(self, table: Tensor<2>, queries: Range<usize>, keys: usize) -> Tensor<4> {
        let [_, heads] = table.dims();
        let count = queries.len();
        let buckets: Vec<i64> = queries
            .flat_map(|query| (0..keys).map(move |key| key as i64 - query as i64))
            .map(|relative| self.bucket_of(relative) as i64)
            .collect();
        let buckets: Tensor<1, Int> =
            Tensor::from_data(TensorData::new(buckets, [count * keys]), &table.device());
        // Heads first, so that the result lies in memory as the logits do.
        let by_head = table.cast(FloatDType::F32).transpose();
        by_head.select(1, buckets).reshape([1, heads, count, keys])
    }

    /// The bucket of a key that is `relative` positions behind its query.
    pub fn bucket_of(self, relative: i64) -> usize {
        let distance = relative.unsigned_abs() as usize;
        if !self.bidirectional {
            let before = if relative < 0 { distance } else { 0 };
            return bucket(before, self.count, self.max_distance);
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
    use super::PositionBuckets;

    #[test]
    fn close_positions_have_their_own_buckets_and_far_ones_share() {
        let buckets = PositionBuckets { count: 32, max_distance: 128, bidirectional: true };
        for distance in 0..8 {
            assert_eq!(buckets.bucket_of(-distance), distance as usize);
        }
        for distance in 1..8 {
            assert_eq!(buckets.bucket_of(distance), 16 + distance as usize);
        }
        // Borders at 8 * 16^(i / 8), rounded up.
        let borders = [8, 12, 16, 23, 32, 46, 64, 91];
        for (index, &border) in borders.iter().enumerate() {
            assert_eq!(buckets.bucket_of(-border), 8 + index, "{border}");
            assert_eq!(buckets.bucket_of(border), 24 + index, "{border}");
            assert_eq!(buckets.bucket_of(1 - border), 7 + index, "{border}");
        }
        assert_eq!(buckets.bucket_of(-100_000), 15);
        assert_eq!(buckets.bucket_of(100_000), 31);
    }
}
