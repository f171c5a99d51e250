//! The gated GELU of a feed-forward layer and its dropout, element by element.

use burn::backend::cubecl::dtype_to_elem_type;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::dropout::{is_kept, seed_of};
use super::{empty, width_of_vectors};
use crate::DropRule;

const UNITS: u32 = 256;
const HALF_ROOT: f32 = std::f32::consts::FRAC_1_SQRT_2;
/// Density of the standard normal distribution at 0.
pub(super) const DENSITY_AT_0: f32 = 0.398_942_3;

/// Factor of the elements from `index` on: 0 where they are dropped, else what makes up for those.
#[cube]
fn kept<N: Size>(
    index: u32,
    seed: &Tensor<f32>,
    salt: u32,
    threshold: u32,
    scale: f32,
) -> Vector<f32, N> {
    let start = seed_of(seed[0], salt);
    let mut factors = Vector::<f32, N>::new(0.0f32);
    #[unroll]
    for j in 0..N::value() {
        let keep = is_kept(index + j as u32, start, threshold);
        factors.insert(j, select(keep, scale, 0.0f32));
    }
    factors
}

/// The standard normal distribution function.
#[cube]
pub(super) fn distribution<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    (Vector::erf(x * Vector::new(HALF_ROOT)) + Vector::new(1.0f32)) * Vector::new(0.5f32)
}

#[cube(launch)]
fn gated_gelu_kernel<F: Float, N: Size>(
    x: &Tensor<Vector<F, N>>,
    seed: &Tensor<f32>,
    y: &mut Tensor<Vector<F, N>>,
    elements: u32,
    inner: u32,
    salt: u32,
    threshold: u32,
    scale: f32,
    #[comptime] drops: bool,
    #[define(F)] _dtype: ElemType,
) {
    let position = ABSOLUTE_POS as u32;
    if position >= elements {
        terminate!();
    }
    let (row, column) = (position / inner, position % inner);
    let place = (row * 2 * inner + column) as usize;
    let value = Vector::<f32, N>::cast_from(x[place]);
    let gate = Vector::<f32, N>::cast_from(x[place + inner as usize]);
    let normal = distribution::<N>(gate);
    let mut out = value * gate * normal;
    if comptime!(drops) {
        out *= kept::<N>(position * N::value() as u32, seed, salt, threshold, scale);
    }
    y[position as usize] = Vector::cast_from(out);
}

#[cube(launch)]
fn gated_gelu_gradient_kernel<F: Float, N: Size>(
    x: &Tensor<Vector<F, N>>,
    seed: &Tensor<f32>,
    dy: &Tensor<Vector<F, N>>,
    dx: &mut Tensor<Vector<F, N>>,
    elements: u32,
    inner: u32,
    salt: u32,
    threshold: u32,
    scale: f32,
    #[comptime] drops: bool,
    #[define(F)] _dtype: ElemType,
) {
    let position = ABSOLUTE_POS as u32;
    if position >= elements {
        terminate!();
    }
    let (row, column) = (position / inner, position % inner);
    let place = (row * 2 * inner + column) as usize;
    let value = Vector::<f32, N>::cast_from(x[place]);
    let gate = Vector::<f32, N>::cast_from(x[place + inner as usize]);
    let mut d = Vector::<f32, N>::cast_from(dy[position as usize]);
    if comptime!(drops) {
        d *= kept::<N>(position * N::value() as u32, seed, salt, threshold, scale);
    }
    let normal = distribution::<N>(gate);
    let density = Vector::exp(gate * gate * Vector::new(-0.5f32)) * Vector::new(DENSITY_AT_0);
    dx[place] = Vector::cast_from(d * gate * normal);
    dx[place + inner as usize] = Vector::cast_from(d * value * (normal + gate * density));
}

/// `value * gelu(gate)` of both halves of the last dimension, `[.., 2 * inner]` to `[.., inner]`.
pub(super) fn gated_gelu(x: CubeTensor, seed: CubeTensor, drop: DropRule) -> CubeTensor {
    let x = into_contiguous(x);
    let mut shape = x.meta.shape().clone();
    let last = shape.num_dims() - 1;
    let inner = shape[last] / 2;
    shape[last] = inner;
    let width = width_of_vectors(inner, x.dtype.size());
    let elements = shape.num_elements() / width;
    let y = empty(&x, shape);
    let client = x.client.clone();
    gated_gelu_kernel::launch(
        &client,
        CubeCount::Static(elements.div_ceil(UNITS as usize) as u32, 1, 1),
        CubeDim::new_1d(UNITS),
        width,
        x.clone().into_tensor_arg(),
        seed.into_tensor_arg(),
        y.clone().into_tensor_arg(),
        elements as u32,
        (inner / width) as u32,
        drop.salt,
        drop.threshold(),
        drop.scale(),
        drop.drops(),
        dtype_to_elem_type(x.dtype),
    );
    y
}

/// The gradient of [`gated_gelu`]'s `x` for `dy`.
pub(super) fn gated_gelu_gradient(
    x: CubeTensor,
    seed: CubeTensor,
    dy: CubeTensor,
    drop: DropRule,
) -> CubeTensor {
    let [x, dy] = [x, dy].map(into_contiguous);
    let shape = x.meta.shape().clone();
    let inner = shape[shape.num_dims() - 1] / 2;
    let width = width_of_vectors(inner, x.dtype.size());
    let elements = shape.num_elements() / 2 / width;
    let dx = empty(&x, shape);
    let client = x.client.clone();
    gated_gelu_gradient_kernel::launch(
        &client,
        CubeCount::Static(elements.div_ceil(UNITS as usize) as u32, 1, 1),
        CubeDim::new_1d(UNITS),
        width,
        x.clone().into_tensor_arg(),
        seed.into_tensor_arg(),
        dy.into_tensor_arg(),
        dx.clone().into_tensor_arg(),
        elements as u32,
        (inner / width) as u32,
        drop.salt,
        drop.threshold(),
        drop.scale(),
        drop.drops(),
        dtype_to_elem_type(x.dtype),
    );
    dx
}
