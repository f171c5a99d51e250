//! Attention of one query to keys that are read where they are.

use super::attention::softmax;
use super::simd::{LANES, lane_sum, mul_add, vectorized};

/// The values that a query attends to, to `out`: those that begin at `starts` in `values`, as the keys do
/// in `keys`. `logits` makes logits of the products with the keys.
pub(super) fn attend(
    query: &[f32],
    (keys, values): (&[f32], &[f32]),
    starts: &[usize],
    logits: impl FnOnce(&mut [f32]),
    out: &mut [f32],
) {
    let count = starts.len();
    let mut p = vec![f32::NEG_INFINITY; count.next_multiple_of(LANES)];
    products(query, keys, starts, &mut p[..count]);
    logits(&mut p[..count]);
    softmax(&mut p);
    weighted_sum(&p[..count], values, starts, out);
}

vectorized! {
    /// The products of a query with the keys that begin at `starts`.
    fn products<const FMA: bool>(query: &[f32], keys: &[f32], starts: &[usize], out: &mut [f32]) {
        for (out, start) in out.iter_mut().zip(starts) {
            *out = lane_sum::<FMA>(query, &keys[*start..start + query.len()]);
        }
    }

    /// The sum of the values that begin at `starts`, times their weights.
    fn weighted_sum<const FMA: bool>(
        weights: &[f32],
        values: &[f32],
        starts: &[usize],
        out: &mut [f32],
    ) {
        out.fill(0.0);
        for (weight, start) in weights.iter().zip(starts) {
            for (out, value) in out.iter_mut().zip(&values[*start..]) {
                *out = mul_add::<FMA>(*weight, *value, *out);
            }
        }
    }
}
