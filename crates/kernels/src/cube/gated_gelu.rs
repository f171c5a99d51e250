//! The gated GELU of a feed-forward layer and its dropout, element by element.

use burn::backend::cubecl::dtype_to_elem_type;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::dropout::{is_kept, seed_of};
use super::gelu::{distribution, slope};
use super::{empty, width_of_vectors};
use crate::DropRule;

const UNITS: u32 = 256;

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

#[cube(launch)]
fn gated_gelu_kernel<F: Float, N: Size>(
    x: &Tensor<Vector<F, N>>,
    dy: &Tensor<Vector<F, N>>,
    seed: &Tensor<f32>,
    out: &mut Tensor<Vector<F, N>>,
    elements: u32,
    inner: u32,
    salt: u32,
    threshold: u32,
    scale: f32,
    #[comptime] backward: bool,
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
    if comptime!(backward) {
        let mut d = Vector::<f32, N>::cast_from(dy[position as usize]);
        if comptime!(drops) {
            d *= kept::<N>(position * N::value() as u32, seed, salt, threshold, scale);
        }
        out[place] = Vector::cast_from(d * gate * normal);
        out[place + inner as usize] = Vector::cast_from(d * value * slope::<N>(gate, normal));
    } else {
        let mut y = value * gate * normal;
        if comptime!(drops) {
            y *= kept::<N>(position * N::value() as u32, seed, salt, threshold, scale);
        }
        out[position as usize] = Vector::cast_from(y);
    }
}

/// `value * gelu(gate)` of both halves of the last dimension, `[.., 2 * inner]` to `[.., inner]`, or for
/// the gradient `dy` of that, the gradient of `x`.
pub(super) fn gated_gelu(
    x: CubeTensor,
    dy: Option<CubeTensor>,
    seed: CubeTensor,
    drop: DropRule,
) -> CubeTensor {
    let x = into_contiguous(x);
    let backward = dy.is_some();
    let dy = dy.map_or_else(|| x.clone(), into_contiguous);
    let mut shape = x.meta.shape().clone();
    let last = shape.num_dims() - 1;
    let inner = shape[last] / 2;
    let width = width_of_vectors(inner, x.dtype.size());
    let elements = shape.num_elements() / 2 / width;
    if !backward {
        shape[last] = inner;
    }
    let out = empty(&x, shape);
    let client = x.client.clone();
    gated_gelu_kernel::launch(
        &client,
        CubeCount::Static(elements.div_ceil(UNITS as usize) as u32, 1, 1),
        CubeDim::new_1d(UNITS),
        width,
        x.into_tensor_arg(),
        dy.into_tensor_arg(),
        seed.into_tensor_arg(),
        out.clone().into_tensor_arg(),
        elements as u32,
        (inner / width) as u32,
        drop.salt,
        drop.threshold(),
        drop.scale(),
        backward,
        drop.drops(),
        dtype_to_elem_type(out.dtype),
    );
    out
}
