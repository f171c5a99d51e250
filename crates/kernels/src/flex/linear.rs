//! Linear layers: by the matrix products that Flex uses itself, or where one side of the product is short,
//! by [`few_rows`].

use std::ops::Range;

use burn::backend::flex::FlexTensor;
use gemm::Parallelism;
use rayon::prelude::*;

use super::few_rows;
use super::simd::vectorized;
use super::tensor::{contiguous, filled, forward, own, slice, slice_mut, stored, tensor, zeros};

/// Products of fewer multiplications are left to one core, as in Flex.
const PARALLEL: usize = 192 * 192 * 192;

/// Rows or columns that a part of a product has a multiple of: every part rearranges the whole other operand
/// for itself.
const PART: usize = 64;

/// Parts for each core, so that one that is held up is helped by the others.
const PARTS: usize = 2;

/// Columns of a task that adds up rows.
const COLUMNS: usize = 256;

/// A matrix in memory; no stride leads out of it.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// # Panics
    /// If it is not one with strides from 0 on.
    fn of(tensor: &'a FlexTensor) -> Self {
        let (shape, strides) = (tensor.layout().shape(), tensor.layout().strides());
        let stride = |dim: usize| usize::try_from(strides[dim]).expect("a stride from 0 on");
        let (rows, columns) = (shape[0], shape[1]);
        let (row_stride, column_stride) = (stride(0), stride(1));
        let values = stored(tensor);
        if rows * columns > 0 {
            let last = (rows - 1) * row_stride + (columns - 1) * column_stride;
            assert!(last < values.len(), "a matrix leads out of its memory");
        }
        Self { values, rows, columns, row_stride, column_stride }
    }

    fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// These rows of it.
    fn part_of_rows(self, rows: Range<usize>) -> Self {
        // A matrix without columns may have no memory to start in.
        let first = (rows.start * self.row_stride).min(self.values.len());
        Self { values: &self.values[first..], rows: rows.len(), ..self }
    }

    /// Its rows one after another, if that is how they are in memory.
    fn as_rows(&self) -> Option<&'a [f32]> {
        let within = self.column_stride == 1 || self.columns == 1;
        let between = self.row_stride == self.columns || self.rows == 1;
        (within && between).then(|| &self.values[..self.rows * self.columns])
    }
}

/// A product that reads its larger side once.
enum Short<'a> {
    /// Few rows times a matrix.
    Rows(&'a [f32], &'a [f32]),
    /// Few rows times a transposed matrix.
    RowsTransposed(&'a [f32], &'a [f32]),
    /// Few columns, as rows, times as many rows.
    Columns(&'a [f32], &'a [f32]),
}

impl<'a> Short<'a> {
    fn of(a: &Matrix<'a>, b: &Matrix<'a>) -> Option<Self> {
        if a.rows <= few_rows::FEW {
            let a = a.as_rows()?;
            let as_it_is = b.as_rows().map(|b| Self::Rows(a, b));
            return as_it_is
                .or_else(|| b.transposed().as_rows().map(|b| Self::RowsTransposed(a, b)));
        }
        if a.columns <= few_rows::FEW {
            return Some(Self::Columns(a.transposed().as_rows()?, b.as_rows()?));
        }
        None
    }

    /// Adds the product, whose left side is `a`, onto `out`.
    fn add_onto(self, a: &Matrix<'_>, out: &mut [f32]) {
        match self {
            Self::Rows(x, weight) => few_rows::add_product(x, weight, a.rows, out),
            Self::RowsTransposed(x, weight) => {
                few_rows::add_product_transposed(x, weight, a.rows, out);
            }
            Self::Columns(x, dy) => few_rows::add_outer_product(x, dy, a.columns, out),
        }
    }
}

/// Adds `a b` onto `out`, `[a.rows, b.columns]`.
fn add_product(a: Matrix<'_>, b: Matrix<'_>, out: &mut [f32]) {
    assert_eq!(out.len(), a.rows * b.columns, "the size of a product");
    if out.is_empty() || a.columns == 0 {
        return;
    }
    match Short::of(&a, &b) {
        Some(short) => short.add_onto(&a, out),
        // SAFETY: `out` is as large as the product, and filled.
        None => unsafe { general_product(a, b, out.as_mut_ptr(), Before::Sum) },
    }
}

/// `a b`, plus a `bias` in every row; `[a.rows, b.columns]`.
fn product(a: Matrix<'_>, b: Matrix<'_>, bias: Option<&[f32]>) -> Vec<f32> {
    let len = a.rows * b.columns;
    let without_product = || bias.map_or_else(|| zeros(len), |bias| bias.repeat(a.rows));
    if len == 0 || a.columns == 0 {
        return without_product();
    }
    match (Short::of(&a, &b), bias) {
        (Some(Short::Columns(x, dy)), None) => few_rows::outer_product(x, dy, a.columns),
        (Some(short), _) => {
            let mut out = without_product();
            short.add_onto(&a, &mut out);
            out
        }
        (None, _) => {
            let before = bias.map_or(Before::Nothing, Before::Bias);
            // SAFETY: there is room for the product, which needs no values before it, and gives every
            // element one.
            unsafe { filled(len, |out| general_product(a, b, out.as_mut_ptr().cast(), before)) }
        }
    }
}

/// What a product is added to.
#[derive(Clone, Copy)]
enum Before<'a> {
    /// Nothing: what is in its memory is not read.
    Nothing,
    /// What is in its memory.
    Sum,
    /// A bias for each column.
    Bias(&'a [f32]),
}

impl Before<'_> {
    /// For these columns of the product only.
    fn columns(self, columns: Range<usize>) -> Self {
        match self {
            Self::Bias(bias) => Self::Bias(&bias[columns]),
            whole => whole,
        }
    }
}

/// Where a product is written to, for several cores at once.
#[derive(Clone, Copy)]
struct Target {
    first: *mut f32,
    /// From one row to the next.
    row_stride: usize,
}

// SAFETY: the cores write parts of the product that do not overlap.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

impl Target {
    /// From another element on.
    ///
    /// # Safety
    /// The element must be one of the product's.
    unsafe fn at(self, row: usize, column: usize) -> Self {
        // SAFETY: the caller answers for it.
        let first = unsafe { self.first.add(row * self.row_stride + column) };
        Self { first, ..self }
    }
}

/// Writes `a b` to `out`, row after row, or adds it onto what is before it.
///
/// The `gemm` crate shares a product's tiles among the cores, but has one of them rearrange a smaller left or
/// transposed operand for all. Cut along its longer side, a product has each core do all that belongs to
/// its part. At the sizes of LD4LG's denoiser, that was 1 to 1.4 times as fast on two cores, and 0.85 to 3.6
/// times on sixteen.
///
/// # Safety
/// `out` must be valid for as many numbers as the product has, and filled with some if it is added to.
unsafe fn general_product(a: Matrix<'_>, b: Matrix<'_>, out: *mut f32, before: Before<'_>) {
    assert_eq!(a.columns, b.rows, "the sides of a product do not fit");
    let out = Target { first: out, row_stride: b.columns };
    let multiplications = a.rows.saturating_mul(a.columns).saturating_mul(b.columns);
    let cores = rayon::current_num_threads();
    let longer = a.rows.max(b.columns);
    if multiplications < PARALLEL || cores == 1 {
        // SAFETY: the caller answers for `out`.
        return unsafe { part_of_product(a, b, out, before, Parallelism::None) };
    }
    if longer < cores * PART / 2 {
        // SAFETY: the caller answers for `out`.
        return unsafe { part_of_product(a, b, out, before, Parallelism::Rayon(0)) };
    }
    let len = longer.div_ceil(cores * PARTS).next_multiple_of(PART);
    (0..longer.div_ceil(len)).into_par_iter().for_each(|part| {
        let range = part * len..longer.min((part + 1) * len);
        // SAFETY: the caller answers for `out`, and no two parts overlap.
        unsafe {
            if a.rows > b.columns {
                let out = out.at(range.start, 0);
                part_of_product(a.part_of_rows(range), b, out, before, Parallelism::None);
            } else {
                let (out, before) = (out.at(0, range.start), before.columns(range.clone()));
                let b = b.transposed().part_of_rows(range).transposed();
                part_of_product(a, b, out, before, Parallelism::None);
            }
        }
    });
}

/// Writes `a b` to `out`, or adds it onto what is before it.
///
/// # Safety
/// `out` must be valid for the rows of the product, and filled with numbers if it is added to.
unsafe fn part_of_product(
    a: Matrix<'_>,
    b: Matrix<'_>,
    out: Target,
    before: Before<'_>,
    parallelism: Parallelism,
) {
    if let Before::Bias(bias) = before {
        for row in 0..a.rows {
            // SAFETY: the caller answers for the row, of as many numbers as `b` has columns.
            unsafe {
                out.at(row, 0).first.copy_from_nonoverlapping(bias.as_ptr(), b.columns);
            }
        }
    }
    // SAFETY: a `Matrix` lies in its memory, whose strides are given, and the caller answers for `out`.
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            out.first,
            1,
            out.row_stride as isize,
            !matches!(before, Before::Nothing),
            a.values.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// `x weight` plus a `bias` in every row.
pub(super) fn linear(x: FlexTensor, weight: FlexTensor, bias: Option<FlexTensor>) -> FlexTensor {
    let [x, weight] = [x, weight].map(forward);
    let bias = bias.map(contiguous);
    let (a, b) = (Matrix::of(&x), Matrix::of(&weight));
    if let Some(bias) = &bias {
        assert_eq!(slice(bias).len(), b.columns, "a bias has a number for each column");
    }
    tensor(product(a, b, bias.as_ref().map(slice)), [a.rows, b.columns])
}

/// `added + x weight`.
pub(super) fn linear_onto(x: FlexTensor, weight: FlexTensor, added: FlexTensor) -> FlexTensor {
    let [x, weight] = [x, weight].map(forward);
    let mut out = own(added);
    add_product(Matrix::of(&x), Matrix::of(&weight), slice_mut(&mut out));
    out
}

/// `dy` times the transposed weight.
pub(super) fn input_gradient(dy: FlexTensor, weight: FlexTensor) -> FlexTensor {
    let [dy, weight] = [dy, weight].map(forward);
    let (dy, weight) = (Matrix::of(&dy), Matrix::of(&weight).transposed());
    tensor(product(dy, weight, None), [dy.rows, weight.columns])
}

/// The transposed `x` times `dy`.
pub(super) fn weight_gradient(x: FlexTensor, dy: FlexTensor) -> FlexTensor {
    let [x, dy] = [x, dy].map(forward);
    let (x, dy) = (Matrix::of(&x).transposed(), Matrix::of(&dy));
    tensor(product(x, dy, None), [x.rows, dy.columns])
}

/// [`weight_gradient`] and the sum of `dy`'s rows.
pub(super) fn weight_and_bias_gradients(x: FlexTensor, dy: FlexTensor) -> (FlexTensor, FlexTensor) {
    let dy = contiguous(dy);
    let columns = dy.layout().shape()[1];
    let sums = tensor(sum_of_rows(slice(&dy), columns), [columns]);
    (weight_gradient(x, dy), sums)
}

fn sum_of_rows(values: &[f32], columns: usize) -> Vec<f32> {
    let mut sums = vec![0.0; columns];
    sums.par_chunks_mut(COLUMNS).enumerate().for_each(|(task, sums)| {
        let first = task * COLUMNS;
        for row in values.chunks_exact(columns) {
            add(&row[first..first + sums.len()], sums);
        }
    });
    sums
}

vectorized! {
    fn add<const FMA: bool>(values: &[f32], sums: &mut [f32]) {
        sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Numbers, assert_close};
    use super::*;

    fn random(numbers: &mut Numbers, [rows, columns]: [usize; 2]) -> FlexTensor {
        tensor(numbers.vector(rows * columns), [rows, columns])
    }

    fn plain(x: &FlexTensor, weight: &FlexTensor) -> Vec<f64> {
        let (x, weight) = (Matrix::of(x), Matrix::of(weight));
        let at = |m: &Matrix<'_>, row: usize, column: usize| {
            f64::from(m.values[row * m.row_stride + column * m.column_stride])
        };
        let element =
            |i: usize, j: usize| (0..x.columns).map(|k| at(&x, i, k) * at(&weight, k, j)).sum();
        let columns = weight.columns;
        (0..x.rows * columns).map(|index| element(index / columns, index % columns)).collect()
    }

    #[test]
    fn operands_may_lie_in_memory_in_any_way() {
        let mut numbers = Numbers::new(1);
        // The last two are cut into parts, of rows and of columns.
        let shapes = [
            [3, 5, 4],
            [3, 160, 130],
            [40, 160, 130],
            [160, 3, 130],
            [64 * PART + 5, 33, 40],
            [40, 33, 64 * PART + 5],
        ];
        for [rows, inner, columns] in shapes {
            let of_x = [
                random(&mut numbers, [rows, inner]),
                transposed(random(&mut numbers, [inner, rows])),
                expanded(random(&mut numbers, [1, inner]), rows),
                flipped(random(&mut numbers, [rows, inner])),
            ];
            let of_weight = [
                random(&mut numbers, [inner, columns]),
                transposed(random(&mut numbers, [columns, inner])),
                expanded(random(&mut numbers, [1, columns]), inner),
            ];
            let added = random(&mut numbers, [rows, columns]);
            for (x, weight) in of_x.iter().flat_map(|x| of_weight.iter().map(move |w| (x, w))) {
                let expected = plain(&x.to_contiguous(), weight);
                let found = linear(x.clone(), weight.clone(), None);
                assert_close(slice(&found), &expected, 2e-5);
                let sum = expected.iter().zip(slice(&added)).map(|(y, a)| y + f64::from(*a));
                let found = linear_onto(x.clone(), weight.clone(), added.clone());
                assert_close(slice(&found), &sum.collect::<Vec<_>>(), 2e-5);
            }
        }
    }

    #[test]
    fn a_product_is_the_same_for_any_number_of_cores() {
        let mut numbers = Numbers::new(5);
        for [rows, inner, columns] in [[260, 200, 700], [700, 200, 260], [130, 600, 129]] {
            let (x, weight) =
                (random(&mut numbers, [rows, inner]), random(&mut numbers, [inner, columns]));
            let bias = tensor(numbers.vector(columns), [columns]);
            let on = |cores: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(cores).build();
                let product = || linear(x.clone(), weight.clone(), Some(bias.clone()));
                slice(&pool.expect("threads").install(product)).to_vec()
            };
            let expected = plain(&x, &weight).into_iter().enumerate();
            let expected: Vec<f64> = expected
                .map(|(index, product)| product + f64::from(slice(&bias)[index % columns]))
                .collect();
            let found = on(1);
            assert_close(&found, &expected, 1e-4);
            assert!([2, 3, 7].into_iter().all(|cores| on(cores) == found));
        }
    }

    fn transposed(matrix: FlexTensor) -> FlexTensor {
        let layout = matrix.layout().transpose(0, 1);
        matrix.with_layout(layout)
    }

    fn expanded(row: FlexTensor, rows: usize) -> FlexTensor {
        let columns = row.layout().shape()[1];
        row.with_layout(burn::backend::flex::Layout::new([rows, columns].into(), vec![0, 1], 0))
    }

    fn flipped(matrix: FlexTensor) -> FlexTensor {
        let layout = matrix.layout().flip(&[1]);
        matrix.with_layout(layout)
    }

    #[test]
    fn what_somebody_else_holds_is_not_changed() {
        let mut numbers = Numbers::new(2);
        let (x, weight) = (random(&mut numbers, [20, 8]), random(&mut numbers, [8, 6]));
        let added = random(&mut numbers, [20, 6]);
        let before = slice(&added).to_vec();
        let found = linear_onto(x, weight, added.clone());
        assert_ne!(slice(&found), before);
        assert_eq!(slice(&added), before);
    }

    #[test]
    fn products_without_elements_are_empty_or_zero() {
        let empty = |shape: [usize; 2]| tensor(Vec::new(), shape);
        let y = linear(empty([0, 3]), random(&mut Numbers::new(3), [3, 4]), None);
        assert!(slice(&y).is_empty());
        let dweight = weight_gradient(empty([0, 3]), empty([0, 2]));
        assert_eq!(slice(&dweight), [0.0; 6]);
    }

    #[test]
    fn the_gradient_of_a_bias_is_a_sum_of_rows() {
        let columns = COLUMNS + 3;
        let values = Numbers::new(4).vector(7 * columns);
        let expected: Vec<f64> = (0..columns)
            .map(|column| values.iter().skip(column).step_by(columns).map(|&x| f64::from(x)).sum())
            .collect();
        assert_close(&sum_of_rows(&values, columns), &expected, 1e-6);
    }
}
