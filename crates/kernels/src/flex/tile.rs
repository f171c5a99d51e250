//! The innermost part of products of matrices: what fits into registers.

use super::simd::{LANES, mul_add};

/// Adds the product of `a`, `N` rows given as columns, with the first [`LANES`] columns of `b`, whose rows
/// follow each other at `b_stride`.
#[inline(always)]
pub(super) fn add_tile<const FMA: bool, const N: usize>(
    a: &[[f32; N]],
    b: &[f32],
    b_stride: usize,
    sums: &mut [[f32; LANES]; N],
) {
    // A copy of its own stays in registers.
    let mut found = *sums;
    for (a, b) in a.iter().zip(b.chunks(b_stride)) {
        let b: &[f32; LANES] = b.first_chunk().expect("the columns of a tile");
        for (a, sums) in a.iter().zip(&mut found) {
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum = mul_add::<FMA>(*a, *b, *sum);
            }
        }
    }
    *sums = found;
}
