//! GELU, element by element.

use burn::backend::cubecl::dtype_to_elem_type;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::{empty, width_of_vectors};

const UNITS: u32 = 256;
const HALF_ROOT: f32 = std::f32::consts::FRAC_1_SQRT_2;
/// Density of the standard normal distribution at 0.
const DENSITY_AT_0: f32 = 0.398_942_3;

/// The standard normal distribution function.
#[cube]
pub(super) fn distribution<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    (Vector::erf(x * Vector::new(HALF_ROOT)) + Vector::new(1.0f32)) * Vector::new(0.5f32)
}

/// The derivative of GELU at `x`, where the distribution function is `normal`.
#[cube]
pub(super) fn slope<N: Size>(x: Vector<f32, N>, normal: Vector<f32, N>) -> Vector<f32, N> {
    let density = Vector::exp(x * x * Vector::new(-0.5f32)) * Vector::new(DENSITY_AT_0);
    normal + x * density
}

#[cube(launch)]
fn gelu_kernel<F: Float, N: Size>(
    x: &Tensor<Vector<F, N>>,
    dy: &Tensor<Vector<F, N>>,
    out: &mut Tensor<Vector<F, N>>,
    vectors: u32,
    #[comptime] backward: bool,
    #[define(F)] _dtype: ElemType,
) {
    let place = ABSOLUTE_POS;
    if place >= vectors as usize {
        terminate!();
    }
    let value = Vector::<f32, N>::cast_from(x[place]);
    let normal = distribution::<N>(value);
    if comptime!(backward) {
        let d = Vector::<f32, N>::cast_from(dy[place]);
        out[place] = Vector::cast_from(d * slope::<N>(value, normal));
    } else {
        out[place] = Vector::cast_from(value * normal);
    }
}

/// `gelu(x)`, or for the gradient `dy` of that, the gradient of `x`.
pub(super) fn gelu(x: CubeTensor, dy: Option<CubeTensor>) -> CubeTensor {
    let x = into_contiguous(x);
    let backward = dy.is_some();
    let dy = dy.map_or_else(|| x.clone(), into_contiguous);
    let shape = x.meta.shape().clone();
    let elements = shape.num_elements();
    let width = width_of_vectors(elements, x.dtype.size());
    let vectors = elements / width;
    let out = empty(&x, shape);
    let client = x.client.clone();
    gelu_kernel::launch(
        &client,
        CubeCount::Static(vectors.div_ceil(UNITS as usize) as u32, 1, 1),
        CubeDim::new_1d(UNITS),
        width,
        x.clone().into_tensor_arg(),
        dy.into_tensor_arg(),
        out.clone().into_tensor_arg(),
        vectors as u32,
        backward,
        dtype_to_elem_type(x.dtype),
    );
    out
}
