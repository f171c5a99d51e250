//! GELU, element by element.

use rayon::prelude::*;

use super::gated_gelu::{DENSITY_AT_0, normal};
use super::simd::{mul_add, vectorized};

/// Elements of a task.
const ELEMENTS: usize = 4096;

/// The exact GELU of every element of `x`, to `out`.
///
/// # Panics
/// If the lengths differ.
pub(super) fn gelu(x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "the lengths do not fit");
    let tasks = out.par_chunks_mut(ELEMENTS).zip(x.par_chunks(ELEMENTS));
    tasks.for_each(|(out, x)| forward(x, out));
}

/// The gradient of [`gelu`]'s `x`, to `dx`, for that of its output, `dout`.
///
/// # Panics
/// If the lengths differ.
pub(super) fn gelu_gradient(x: &[f32], dout: &[f32], dx: &mut [f32]) {
    assert_eq!([dout.len(), dx.len()], [x.len(); 2], "the lengths do not fit");
    let inputs = x.par_chunks(ELEMENTS).zip(dout.par_chunks(ELEMENTS));
    let tasks = dx.par_chunks_mut(ELEMENTS).zip(inputs);
    tasks.for_each(|(dx, (x, dout))| backward(x, dout, dx));
}

vectorized! {
    fn forward<const FMA: bool>(x: &[f32], out: &mut [f32]) {
        for (out, x) in out.iter_mut().zip(x) {
            *out = x * normal::<FMA>(*x).0;
        }
    }

    fn backward<const FMA: bool>(x: &[f32], dout: &[f32], dx: &mut [f32]) {
        for ((dx, x), dout) in dx.iter_mut().zip(x).zip(dout) {
            let (below, bell) = normal::<FMA>(*x);
            *dx = dout * mul_add::<FMA>(x * DENSITY_AT_0, bell, below);
        }
    }
}
