//! Products of a few rows with a large matrix, bound by reading the matrix once. A general product spends
//! most of its time on rearranging it.
//!
//! Every number is a sum from the first term to the last, as in a general product of up to 512 terms, so that
//! a row does not depend on how many others there are.

use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

use super::simd::{LANES, mul_add, vectorized};
use super::tensor::{filled, zeroed};
use super::tile::add_tile;

/// Up to how many rows these are faster than a general product.
pub(super) const FEW: usize = 16;

/// Rows of the matrix that are read together, few enough to be read ahead.
const STEP: usize = 16;

/// Rows of a product that are computed together.
const TILE: usize = 4;

/// Rows of a transposed matrix that are read together: their sums fit into registers.
const TOGETHER: usize = 6;

/// A matrix of fewer elements is read faster by one core than by all.
const LARGE: usize = 1 << 14;

/// Among how many cores the reading of a matrix is divided.
fn cores(matrix: &[f32]) -> usize {
    if matrix.len() < LARGE { 1 } else { rayon::current_num_threads() }
}

/// Adds `x`, `[rows, inner]`, times `weight`, `[inner, columns]`, onto `out`, `[rows, columns]`.
///
/// # Panics
/// If the lengths do not fit.
pub(super) fn add_product(x: &[f32], weight: &[f32], rows: usize, out: &mut [f32]) {
    let (inner, columns) = (x.len() / rows, out.len() / rows);
    check(rows, inner, columns, [x.len(), weight.len(), out.len()]);
    // Long stretches of memory for each core.
    let width = columns.div_ceil(cores(weight)).next_multiple_of(LANES);
    let part = |first| some_columns(x, weight, rows, columns, first..columns.min(first + width));
    let firsts = (0..columns).step_by(width);
    let parts: Vec<Vec<f32>> = match firsts.len() {
        1 => vec![part(0)],
        _ => firsts.clone().collect::<Vec<_>>().into_par_iter().map(part).collect(),
    };
    for (first, part) in firsts.zip(&parts) {
        let width = part.len() / rows;
        for (out, part) in out.chunks_exact_mut(columns).zip(part.chunks_exact(width)) {
            out[first..].iter_mut().zip(part).for_each(|(out, part)| *out += part);
        }
    }
}

/// These columns of a product, `[rows, columns.len()]`.
fn some_columns(
    x: &[f32],
    weight: &[f32],
    rows: usize,
    stride: usize,
    columns: Range<usize>,
) -> Vec<f32> {
    let (inner, width) = (x.len() / rows, columns.len());
    let mut sums = vec![0.0; rows * width];
    for (step, weight) in weight.chunks(STEP * stride).enumerate() {
        let first = step * STEP;
        for (x, sums) in x.chunks(TILE * inner).zip(sums.chunks_mut(TILE * width)) {
            let mut packed = [[0.0; TILE]; STEP];
            for (row, x) in x.chunks_exact(inner).enumerate() {
                packed.iter_mut().zip(&x[first..]).for_each(|(packed, x)| packed[row] = *x);
            }
            add_tiles(&packed, &weight[columns.start..], stride, sums, width);
        }
    }
    sums
}

/// Adds `x`, `[rows, inner]`, times the transposed `weight`, `[columns, inner]`, onto `out`,
/// `[rows, columns]`.
///
/// # Panics
/// If the lengths do not fit, or there are more than [`FEW`] rows.
pub(super) fn add_product_transposed(x: &[f32], weight: &[f32], rows: usize, out: &mut [f32]) {
    let (inner, columns) = (x.len() / rows, out.len() / rows);
    check(rows, inner, columns, [x.len(), weight.len(), out.len()]);
    let mut turned = vec![[0.0; FEW]; inner];
    for (row, x) in x.chunks_exact(inner).enumerate() {
        turned.iter_mut().zip(x).for_each(|(turned, x)| turned[row] = *x);
    }
    let mut sums = vec![[0.0; FEW]; columns];
    let of_task = columns.div_ceil(cores(weight)).next_multiple_of(TOGETHER);
    sums.par_chunks_mut(of_task).zip(weight.par_chunks(of_task * inner)).for_each(
        |(sums, weight)| {
            for (sums, weight) in sums.chunks_mut(TOGETHER).zip(weight.chunks(TOGETHER * inner)) {
                // Rows that there are not are read as the last one.
                let row = |row: usize| &weight[row.min(sums.len() - 1) * inner..][..inner];
                let found = products_of_columns(&turned, std::array::from_fn(row));
                sums.copy_from_slice(&found[..sums.len()]);
            }
        },
    );
    for (row, out) in out.chunks_exact_mut(columns).enumerate() {
        out.iter_mut().zip(&sums).for_each(|(out, sums)| *out += sums[row]);
    }
}

/// Adds the transposed `a`, `[rows, inner]`, times `b`, `[rows, columns]`, onto `out`, `[inner, columns]`.
///
/// # Panics
/// If the lengths do not fit.
pub(super) fn add_outer_product(a: &[f32], b: &[f32], rows: usize, out: &mut [f32]) {
    let (inner, columns) = (a.len() / rows, b.len() / rows);
    check(rows, inner, columns, [a.len(), out.len(), b.len()]);
    let tasks = out.par_chunks_mut(TILE * columns).enumerate();
    tasks.with_min_len(tasks_together(inner, columns)).for_each(|(task, out)| {
        add_outer_products(a, b, rows, task * TILE, out);
    });
}

/// The transposed `a`, `[rows, inner]`, times `b`, `[rows, columns]`; `[inner, columns]`.
///
/// # Panics
/// If the lengths do not fit.
pub(super) fn outer_product(a: &[f32], b: &[f32], rows: usize) -> Vec<f32> {
    let (inner, columns) = (a.len() / rows, b.len() / rows);
    let len = inner * columns;
    check(rows, inner, columns, [a.len(), len, b.len()]);
    let fill = |out: &mut [MaybeUninit<f32>]| {
        let tasks = out.par_chunks_mut(TILE * columns).enumerate();
        tasks.with_min_len(tasks_together(inner, columns)).for_each(|(task, out)| {
            add_outer_products(a, b, rows, task * TILE, zeroed(out));
        });
    };
    // SAFETY: the tasks' chunks are all of the memory, and each is filled.
    unsafe { filled(len, fill) }
}

/// How many tasks of an outer product one core takes at least.
fn tasks_together(inner: usize, columns: usize) -> usize {
    if inner * columns < LARGE { inner } else { 1 }
}

/// Adds the rows of an outer product that begin with `first`, up to [`TILE`] of them.
fn add_outer_products(a: &[f32], b: &[f32], rows: usize, first: usize, out: &mut [f32]) {
    let (inner, columns) = (a.len() / rows, b.len() / rows);
    let mut packed = [[0.0; TILE]; STEP];
    for (a, b) in a.chunks(STEP * inner).zip(b.chunks(STEP * columns)) {
        for (packed, a) in packed.iter_mut().zip(a.chunks_exact(inner)) {
            packed.iter_mut().zip(&a[first..]).for_each(|(packed, a)| *packed = *a);
        }
        add_tiles(&packed, b, columns, out, columns);
    }
}

fn check(rows: usize, inner: usize, columns: usize, lengths: [usize; 3]) {
    let expected = [rows * inner, inner * columns, rows * columns];
    assert_eq!(lengths, expected, "the lengths of rows, matrix and product do not fit");
    assert!(inner > 0 && columns > 0, "a matrix without elements");
}

vectorized! {
    /// Adds the product of rows, given as columns, with up to as many rows of `b`, which follow each other
    /// at `stride`; `sums` is `[rows, columns]`.
    fn add_tiles<const FMA: bool>(
        a: &[[f32; TILE]],
        b: &[f32],
        stride: usize,
        sums: &mut [f32],
        columns: usize,
    ) {
        let mut column = 0;
        while column + LANES <= columns {
            let mut found = [[0.0; LANES]; TILE];
            for (found, sums) in found.iter_mut().zip(sums.chunks_exact(columns)) {
                found.copy_from_slice(&sums[column..column + LANES]);
            }
            add_tile::<FMA, TILE>(a, &b[column..], stride, &mut found);
            for (found, sums) in found.iter().zip(sums.chunks_exact_mut(columns)) {
                sums[column..column + LANES].copy_from_slice(found);
            }
            column += LANES;
        }
        for (a, b) in a.iter().zip(b.chunks(stride)) {
            for (a, sums) in a.iter().zip(sums.chunks_exact_mut(columns)) {
                let rest = sums[column..].iter_mut().zip(&b[column..]);
                rest.for_each(|(sum, b)| *sum = mul_add::<FMA>(*a, *b, *sum));
            }
        }
    }

    /// The products of each of `rows` with all of `columns`.
    fn products_of_columns<const FMA: bool>(
        columns: &[[f32; FEW]],
        rows: [&[f32]; TOGETHER],
    ) -> [[f32; FEW]; TOGETHER] {
        let rows = rows.map(|row| &row[..columns.len()]);
        let mut sums = [[0.0; FEW]; TOGETHER];
        for (index, column) in columns.iter().enumerate() {
            for (sums, row) in sums.iter_mut().zip(&rows) {
                for (sum, x) in sums.iter_mut().zip(column) {
                    *sum = mul_add::<FMA>(row[index], *x, *sum);
                }
            }
        }
        sums
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
        for (rows, inner, columns) in [(1, 7, 3), (8, 262, 37), (5, 128, 200)] {
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
            let products = plain([inner, rows, columns], |i, j| at_x(j, i), at_dout);
            check_sums(&dw, &products);
            assert_close(&outer_product(&x, &dout, rows), &products, 2e-5);
        }
    }

    #[test]
    fn a_row_does_not_depend_on_the_others() {
        let (inner, columns) = (70, 90);
        let mut numbers = Numbers::new(10);
        let (x, w) = (numbers.vector(FEW * inner), numbers.vector(inner * columns));
        for product in [add_product, add_product_transposed] {
            let mut all = vec![0.0; FEW * columns];
            product(&x, &w, FEW, &mut all);
            for rows in [1, 5] {
                let mut some = vec![0.0; rows * columns];
                product(&x[..rows * inner], &w, rows, &mut some);
                assert_eq!(some, all[..rows * columns]);
            }
        }
    }
}
