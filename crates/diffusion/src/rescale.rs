use burn::tensor::{FloatDType, Tensor};

const SMALLEST_NORM: f64 = 1e-12;

/// Rescales every latent vector of `x0`, of shape `[batch, latents, dim]`, to the norm `sqrt(dim)`.
///
/// This is how l2-normalised latents look, so estimates of them may be brought back to that form:
/// in sampling through [`SamplerPlan::rescale_x0`](crate::SamplerPlan::rescale_x0), in training
/// before an estimate is used for self-conditioning. Computed and returned in f32.
pub fn rescale_norm(x0: Tensor<3>) -> Tensor<3> {
    let [_, _, dim] = x0.dims();
    let x0 = x0.cast(FloatDType::F32);
    let norm = x0.clone().square().sum_dim(2).sqrt().clamp_min(SMALLEST_NORM);
    x0 / norm * (dim as f64).sqrt()
}
