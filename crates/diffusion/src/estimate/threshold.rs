use burn::tensor::Tensor;

use super::quantile::quantile_of_rows;

/// Imagen's dynamic thresholding of `x0`, f32, of shape `[batch, ..]`.
pub(super) fn dynamic_threshold<const D: usize>(
    x0: Tensor<D>,
    quantile: f64,
    limit: f64,
    max: Option<f64>,
) -> Tensor<D> {
    let shape = x0.dims();
    let x0 = x0.reshape([shape[0] as i64, -1]);
    let s = quantile_of_rows(x0.clone().abs(), quantile, max).clamp_min(limit);
    let s = match max {
        Some(max) => s.clamp_max(max),
        None => s,
    };
    let bound = s.clone().expand(x0.dims());
    let clamped = x0.min_pair(bound.clone()).max_pair(-bound);
    (clamped / s * limit).reshape(shape)
}
