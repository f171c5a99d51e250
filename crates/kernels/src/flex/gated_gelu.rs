//! The gated GELU of a feed-forward layer and its dropout.

use rayon::prelude::*;

use super::dropout::Dropping;
use super::simd::{exp, mul_add, vectorized};

/// Rows of a task.
const ROWS: usize = 4;

/// Density of the standard normal distribution at 0.
pub(super) const DENSITY_AT_0: f32 = 0.398_942_3;

/// `value * gelu(gate)` of both halves of every row of `x`, `[rows, 2 * inner]`, to `out`,
/// `[rows, inner]`, with the exact GELU, and dropout where that is asked for.
///
/// # Panics
/// If the lengths do not fit.
pub(super) fn gated_gelu(x: &[f32], inner: usize, dropping: Option<Dropping>, out: &mut [f32]) {
    assert!(x.len() == 2 * out.len() && out.len().is_multiple_of(inner), "the lengths do not fit");
    let tasks = out.par_chunks_mut(ROWS * inner).zip(x.par_chunks(ROWS * 2 * inner)).enumerate();
    tasks.for_each(|(task, (out, x))| {
        let rows = out.chunks_exact_mut(inner).zip(x.chunks_exact(2 * inner));
        for (row, (out, x)) in (task * ROWS..).zip(rows) {
            let (value, gate) = x.split_at(inner);
            forward_row(value, gate, out);
            if let Some(dropping) = dropping {
                drop_row(out, row * inner, dropping);
            }
        }
    });
}

/// The gradient of [`gated_gelu`]'s `x`, to `dx`, for that of its output, `dout`.
///
/// # Panics
/// If the lengths do not fit.
pub(super) fn gated_gelu_gradient(
    x: &[f32],
    inner: usize,
    dropping: Option<Dropping>,
    dout: &[f32],
    dx: &mut [f32],
) {
    assert_eq!([x.len(), dx.len()], [2 * dout.len(); 2], "the lengths do not fit");
    assert!(dout.len().is_multiple_of(inner), "the lengths do not fit");
    let tasks = dx
        .par_chunks_mut(ROWS * 2 * inner)
        .zip(x.par_chunks(ROWS * 2 * inner))
        .zip(dout.par_chunks(ROWS * inner))
        .enumerate();
    tasks.for_each(|(task, ((dx, x), dout))| {
        let rows = dx
            .chunks_exact_mut(2 * inner)
            .zip(x.chunks_exact(2 * inner))
            .zip(dout.chunks_exact(inner));
        let mut kept = dropping.map(|_| vec![0.0; inner]);
        for (row, ((dx, x), dout)) in (task * ROWS..).zip(rows) {
            let dout = match (&mut kept, dropping) {
                (Some(kept), Some(dropping)) => {
                    kept.copy_from_slice(dout);
                    drop_row(kept, row * inner, dropping);
                    kept
                }
                _ => dout,
            };
            let (value, gate) = x.split_at(inner);
            let (dvalue, dgate) = dx.split_at_mut(inner);
            backward_row(value, gate, dout, dvalue, dgate);
        }
    });
}

/// The standard normal distribution function at `x`, and `exp(-x^2 / 2)`.
///
/// By formula 7.1.26 of Abramowitz and Stegun, off by at most 3e-7 in f32: the one in PyTorch's vectorised
/// `erf`. The complement is what it gives, so that nothing cancels in the lower tail.
#[inline(always)]
pub(super) fn normal<const FMA: bool>(x: f32) -> (f32, f32) {
    const P: f32 = 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2;
    const POLYNOMIAL: [f32; 5] = [1.061_405_4, -1.453_152, 1.421_413_7, -0.284_496_72, 0.254_829_6];

    let bell = exp::<FMA>(-0.5 * x * x);
    let t = 1.0 / mul_add::<FMA>(P, x.abs(), 1.0);
    let mut sum = POLYNOMIAL[0];
    for coefficient in &POLYNOMIAL[1..] {
        sum = mul_add::<FMA>(sum, t, *coefficient);
    }
    let tail = 0.5 * sum * t * bell;
    (if x < 0.0 { tail } else { 1.0 - tail }, bell)
}

vectorized! {
    fn forward_row<const FMA: bool>(value: &[f32], gate: &[f32], out: &mut [f32]) {
        for ((out, value), gate) in out.iter_mut().zip(value).zip(gate) {
            *out = value * gate * normal::<FMA>(*gate).0;
        }
    }

    fn backward_row<const FMA: bool>(
        value: &[f32],
        gate: &[f32],
        dout: &[f32],
        dvalue: &mut [f32],
        dgate: &mut [f32],
    ) {
        let columns = dvalue.iter_mut().zip(dgate).zip(value).zip(gate).zip(dout);
        for ((((dvalue, dgate), value), gate), dout) in columns {
            let (below, bell) = normal::<FMA>(*gate);
            *dvalue = dout * gate * below;
            *dgate = dout * value * mul_add::<FMA>(gate * DENSITY_AT_0, bell, below);
        }
    }

    fn drop_row<const FMA: bool>(row: &mut [f32], first: usize, dropping: Dropping) {
        for (index, value) in (first as u32..).zip(row) {
            *value *= dropping.factor(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Numbers, assert_close, differences, wide};
    use super::*;

    /// `erf` by its Taylor series, exact in f64 for arguments as small as here.
    fn erf(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..400 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    fn plain(x: &[f64], inner: usize, dropping: Option<Dropping>) -> Vec<f64> {
        let mut out = Vec::new();
        for x in x.chunks(2 * inner) {
            for i in 0..inner {
                let (value, gate) = (x[i], x[inner + i]);
                let factor = dropping.map_or(1.0, |it| it.factor(out.len() as u32));
                let gelu = 0.5 * gate * (1.0 + erf(gate * std::f64::consts::FRAC_1_SQRT_2));
                out.push(value * gelu * f64::from(factor));
            }
        }
        out
    }

    #[test]
    fn values_and_gradients_are_those_of_the_formula() {
        let (rows, inner) = (9, 21);
        let mut numbers = Numbers::new(5);
        let x: Vec<f32> = numbers.vector(rows * 2 * inner).iter().map(|x| x * 2.0).collect();
        let dout = numbers.vector(rows * inner);
        for dropping in [None, Some(Dropping::new(0.3, 2, u32::MAX / 4, 4.0 / 3.0))] {
            let mut out = vec![0.0; rows * inner];
            gated_gelu(&x, inner, dropping, &mut out);
            assert_close(&out, &plain(&wide(&x), inner, dropping), 1e-6);

            let mut dx = vec![0.0; x.len()];
            gated_gelu_gradient(&x, inner, dropping, &dout, &mut dx);
            let by_x = differences(&wide(&x), |x| {
                let out = plain(x, inner, dropping);
                out.iter().zip(&dout).map(|(y, d)| y * f64::from(*d)).sum()
            });
            assert_close(&dx, &by_x, 2e-6);
        }
    }

    #[test]
    fn the_distribution_is_exact_to_3e_7() {
        let worst = (-6000..6000)
            .map(|i| {
                let x = i as f32 * 1e-3;
                let exact = 0.5 * (1.0 + erf(f64::from(x) * std::f64::consts::FRAC_1_SQRT_2));
                let found = [normal::<false>(x).0, normal::<true>(x).0];
                found.map(|it| (f64::from(it) - exact).abs()).into_iter().fold(0.0, f64::max)
            })
            .fold(0.0, f64::max);
        assert!(worst < 3e-7, "{worst}");
    }

    #[test]
    fn the_ends_of_the_range_are_numbers() {
        let x = [1.0, 1.0, 1.0, -100.0, 100.0, -1e20];
        let mut out = [0.0; 3];
        gated_gelu(&x, 3, None, &mut out);
        assert_eq!(out.map(f32::abs), [0.0, 100.0, 0.0]);
        let mut dx = [0.0; 6];
        gated_gelu_gradient(&x, 3, None, &[1.0; 3], &mut dx);
        assert_eq!(dx.map(f32::abs), [0.0, 100.0, 0.0, 0.0, 1.0, 0.0]);
    }
}
