//! Products of a few rows with a large matrix, bound by reading the matrix once. A general product spends
//! most of its time on rearranging it.

use rayon::prelude::*;

use super::simd::{LANES, lane_sum, mul_add, vectorized};
use super::tile::add_tile;

/// Up to how many rows these are faster than a general product.
pub(super) const FEW: usize = 16;

/// Rows of the matrix that a task reads. Sums over them are formed within tasks first, so their order does
/// not depend on the number of threads.
const DEPTH: usize = 128;

/// Rows of the matrix that are read together, few enough to be read ahead.
const STEP: usize = 16;

/// Rows of a product that are computed together.
const TILE: usize = 4;

/// Adds `x`, `[rows, inner]`, times `weight`, `[inner, columns]`, onto `out`, `[rows, columns]`.
///
/// # Panics
/// If the lengths do not fit.
pub(super) fn add_product(x: &[f32], weight: &[f32], rows: usize, out: &mut [f32]) {
    let (inner, columns) = (x.len() / rows, out.len() / rows);
    check(rows, inner, columns, [x.len(), weight.len(), out.len()]);
    let parts: Vec<Vec<f32>> = weight
        .par_chunks(DEPTH * columns)
        .enumerate()
        .map(|(task, weight)| {
            let mut sums = vec![0.0; out.len()];
            for (step, weight) in weight.chunks(STEP * columns).enumerate() {
                let first = task * DEPTH + step * STEP;
                for (x, sums) in x.chunks(TILE * inner).zip(sums.chunks_mut(TILE * columns)) {
                    let mut packed = [[0.0; TILE]; STEP];
                    for (row, x) in x.chunks_exact(inner).enumerate() {
                        packed.iter_mut().zip(&x[first..]).for_each(|(packed, x)| packed[row] = *x);
                    }
                    add_tiles(&packed, weight, sums, columns);
                }
            }
            sums
        })
        .collect();
    let add = |part: &Vec<f32>| out.iter_mut().zip(part).for_each(|(out, part)| *out += part);
    parts.iter().for_each(add);
}

/// Adds `x`, `[rows, inner]`, times the transposed `weight`, `[columns, inner]`, onto `out`,
/// `[rows, columns]`.
///
/// # Panics
/// If the lengths do not fit.
pub(super) fn add_product_transposed(x: &[f32], weight: &[f32], rows: usize, out: &mut [f32]) {
    let (inner, columns) = (x.len() / rows, out.len() / rows);
    check(rows, inner, columns, [x.len(), weight.len(), out.len()]);
    let mut turned = vec![0.0; out.len()];
    let tasks = turned.par_chunks_mut(DEPTH * rows).zip(weight.par_chunks(DEPTH * inner));
    tasks.for_each(|(turned, weight)| {
        for (turned, weight) in turned.chunks_exact_mut(rows).zip(weight.chunks_exact(inner)) {
            dots(weight, x, turned);
        }
    });
    for (row, out) in out.chunks_exact_mut(columns).enumerate() {
        for (out, turned) in out.iter_mut().zip(turned.chunks_exact(rows)) {
            *out += turned[row];
        }
    }
}

/// Adds the transposed `a`, `[rows, inner]`, times `b`, `[rows, columns]`, onto `out`, `[inner, columns]`.
///
/// # Panics
/// If the lengths do not fit.
pub(super) fn add_outer_product(a: &[f32], b: &[f32], rows: usize, out: &mut [f32]) {
    let (inner, columns) = (a.len() / rows, b.len() / rows);
    check(rows, inner, columns, [a.len(), out.len(), b.len()]);
    out.par_chunks_mut(TILE * columns).enumerate().for_each(|(task, out)| {
        let first = task * TILE;
        let mut packed = [[0.0; TILE]; STEP];
        for (a, b) in a.chunks(STEP * inner).zip(b.chunks(STEP * columns)) {
            for (packed, a) in packed.iter_mut().zip(a.chunks_exact(inner)) {
                packed.iter_mut().zip(&a[first..]).for_each(|(packed, a)| *packed = *a);
            }
            add_tiles(&packed, b, out, columns);
        }
    });
}

fn check(rows: usize, inner: usize, columns: usize, lengths: [usize; 3]) {
    let expected = [rows * inner, inner * columns, rows * columns];
    assert_eq!(lengths, expected, "the lengths of rows, matrix and product do not fit");
    assert!(inner > 0 && columns > 0, "a matrix without elements");
}

vectorized! {
    /// Adds the product of rows, given as columns, with up to as many rows of `b`.
    fn add_tiles<const FMA: bool>(
        a: &[[f32; TILE]],
        b: &[f32],
        sums: &mut [f32],
        columns: usize,
    ) {
        let mut column = 0;
        while column + LANES <= columns {
            let mut found = [[0.0; LANES]; TILE];
            for (found, sums) in found.iter_mut().zip(sums.chunks_exact(columns)) {
                found.copy_from_slice(&sums[column..column + LANES]);
            }
            add_tile::<FMA, TILE>(a, &b[column..], columns, &mut found);
            for (found, sums) in found.iter().zip(sums.chunks_exact_mut(columns)) {
                sums[column..column + LANES].copy_from_slice(found);
            }
            column += LANES;
        }
        for (a, b) in a.iter().zip(b.chunks_exact(columns)) {
            for (a, sums) in a.iter().zip(sums.chunks_exact_mut(columns)) {
                let rest = sums[column..].iter_mut().zip(&b[column..]);
                rest.for_each(|(sum, b)| *sum = mul_add::<FMA>(*a, *b, *sum));
            }
        }
    }

    /// The products of a row with each of `rows`.
    fn dots<const FMA: bool>(row: &[f32], rows: &[f32], out: &mut [f32]) {
        for (other, out) in rows.chunks_exact(row.len()).zip(out) {
            *out = lane_sum::<FMA>(row, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Numbers, assert_close};
    use super::*;

    /// `a`, `[n, inner]`, times `b`, `[inner, m]`, as functions of row and column.
    fn plain(
        [n, inner, m]: [usize; 3],
        a: impl Fn(usize, usize) -> f32,
        b: impl Fn(usize, usize) -> f32,
    ) -> Vec<f64> {
        let element = |i, j| (0..inner).map(|k| f64::from(a(i, k)) * f64::from(b(k, j))).sum();
        (0..n).flat_map(|i| (0..m).map(move |j| (i, j))).map(|(i, j)| element(i, j)).collect()
    }

    /// Onto sevens.
    fn check_sums(found: &[f32], products: &[f64]) {
        let expected: Vec<f64> = products.iter().map(|product| 7.0 + product).collect();
        assert_close(found, &expected, 2e-5);
    }

    #[test]
    fn products_are_exact() {
        for (rows, inner, columns) in [(1, 7, 3), (8, 2 * DEPTH + 6, 37), (5, DEPTH, 64)] {
            let mut numbers = Numbers::new(9);
            let (x, w) = (numbers.vector(rows * inner), numbers.vector(inner * columns));
            let dout = numbers.vector(rows * columns);
            let (at_x, at_w) = (|i, j| x[i * inner + j], |i, j| w[i * columns + j]);
            let at_dout = |i, j| dout[i * columns + j];

            let mut out = vec![7.0; rows * columns];
            add_product(&x, &w, rows, &mut out);
            check_sums(&out, &plain([rows, inner, columns], at_x, at_w));

            let mut dx = vec![7.0; x.len()];
            add_product_transposed(&dout, &w, rows, &mut dx);
            check_sums(&dx, &plain([rows, columns, inner], at_dout, |i, j| at_w(j, i)));

            let mut dw = vec![7.0; w.len()];
            add_outer_product(&x, &dout, rows, &mut dw);
            check_sums(&dw, &plain([inner, rows, columns], |i, j| at_x(j, i), at_dout));
        }
    }
}
