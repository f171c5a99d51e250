use burn::tensor::{FloatDType, Tensor};

const SMALLEST_NORM: f64 = 1e-12;

/// Brings every latent vector to the norm `sqrt(dim)`; `[batch, latents, dim]` in and out.
///
/// Computed in f32, returned in the dtype of `x`. A vector of zeros stays one.
pub fn l2_normalize_latents(x: Tensor<3>) -> Tensor<3> {
    let dtype = x.dtype();
    let [_, _, dim] = x.dims();
    let x = x.cast(FloatDType::F32);
    // Bounding the square and not the root keeps the gradient of a zero vector finite.
    let squared_norm = x.clone().square().sum_dim(2).clamp_min(SMALLEST_NORM.powi(2));
    (x * (squared_norm.sqrt().recip() * (dim as f64).sqrt())).cast(dtype)
}
