use burn::backend::Dispatch;
use burn::tensor::{DType, Tensor};

use crate::ops::FusedOps;
use crate::{Kernels, plain};

/// Widths that the GPU kernels know are multiples of this, up to the largest that fits into registers.
const MULTIPLE: usize = 32;
const WIDEST: usize = 2048;

/// Layer norm over the last dimension, with gain and bias, computed in f32.
///
/// # Shapes
/// - `x`: `[.., dim]`
/// - `gain`, `bias`: `[dim]`
/// - returns `[.., dim]` in `x`'s dtype
pub fn norm<const D: usize>(
    x: Tensor<D>,
    gain: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    if !knows(&x, &gain) {
        return plain::norm(x, gain, bias, epsilon);
    }
    let (gain, bias) = (gain.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(Dispatch::norm(x.into_dispatch(), gain, bias, epsilon))
}

/// The same of a sum: `norm(x + residual)`, which is formed in f32 too.
///
/// # Shapes
/// - `x`, `residual`: `[.., dim]`
/// - `gain`, `bias`: `[dim]`
/// - returns `[.., dim]` in `x`'s dtype
pub fn norm_of_sum<const D: usize>(
    x: Tensor<D>,
    residual: Tensor<D>,
    gain: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    let is_alike = residual.dims() == x.dims() && residual.dtype() == x.dtype();
    if !is_alike || !knows(&x, &gain) {
        return plain::norm_of_sum(x, residual, gain, bias, epsilon);
    }
    Tensor::from_dispatch(Dispatch::norm_of_sum(
        x.into_dispatch(),
        residual.into_dispatch(),
        gain.into_dispatch(),
        bias.into_dispatch(),
        epsilon,
    ))
}

/// `x / sqrt(mean(x^2) + epsilon) * gain` over the last dimension, computed in f32.
///
/// # Shapes
/// - `x`: `[.., dim]`
/// - `gain`: `[dim]`
/// - returns `[.., dim]` in `x`'s dtype
pub fn rms_norm<const D: usize>(x: Tensor<D>, gain: Tensor<1>, epsilon: f64) -> Tensor<D> {
    if !knows(&x, &gain) {
        return plain::rms_norm(x, gain, epsilon);
    }
    Tensor::from_dispatch(Dispatch::rms_norm(x.into_dispatch(), gain.into_dispatch(), epsilon))
}

/// `residual + norm(x) * (1 + scale) + shift`, where scale and shift are those of the sample that a row
/// belongs to: the end of a transformer's layer that knows a noise level.
///
/// # Shapes
/// - `x`, `residual`: `[.., dim]`, the rows of a sample after each other
/// - `gain`, `bias`: `[dim]`
/// - `scale_and_shift`: `[samples, 2 * dim]`, the scale first
/// - returns `[.., dim]` in `x`'s dtype
///
/// # Panics
/// If the rows can't be divided among the samples.
pub fn modulated_norm<const D: usize>(
    x: Tensor<D>,
    gain: Tensor<1>,
    bias: Tensor<1>,
    scale_and_shift: Tensor<2>,
    residual: Tensor<D>,
    epsilon: f64,
) -> Tensor<D> {
    let [samples, _] = scale_and_shift.dims();
    let rows: usize = x.dims()[..D - 1].iter().product();
    assert!(rows.is_multiple_of(samples), "{rows} rows can't be those of {samples} samples");
    if !knows(&x, &gain) {
        return plain::modulated_norm(x, gain, bias, scale_and_shift, residual, epsilon);
    }
    Tensor::from_dispatch(Dispatch::modulated_norm(
        x.into_dispatch(),
        gain.into_dispatch(),
        bias.into_dispatch(),
        scale_and_shift.into_dispatch(),
        residual.into_dispatch(),
        epsilon,
    ))
}

fn knows<const D: usize>(x: &Tensor<D>, gain: &Tensor<1>) -> bool {
    let dim = x.dims()[D - 1];
    x.shape().num_elements() > 0
        && x.dtype() == gain.dtype()
        && match Kernels::of(&x.device()) {
            Kernels::None => false,
            Kernels::Cube => dim.is_multiple_of(MULTIPLE) && dim <= WIDEST,
            Kernels::Flex => x.dtype() == DType::F32,
        }
}
