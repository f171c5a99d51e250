use burn::tensor::{FloatDType, Tensor};

const SMALLEST_NORM: f64 = 1e-12;

/// Rescales every vector of `x0` along its last dimension, `dim` long, to the norm `sqrt(dim)`.
///
/// This is how l2-normalised latents of shape `[batch, latents, dim]` look, so estimates of them may
/// be brought back to that form: in sampling through
/// [`X0Correction::NormRescale`](crate::X0Correction::NormRescale), in training before an estimate is
/// used for self-conditioning (LD4LG, appendix). Vectors of zeros stay. Computed and returned in f32.
pub fn rescale_norm<const D: usize>(x0: Tensor<D>) -> Tensor<D> {
    let dim = x0.dims()[D - 1];
    let x0 = x0.cast(FloatDType::F32);
    let norm = x0.clone().square().sum_dim(D - 1).sqrt().clamp_min(SMALLEST_NORM);
    x0 / norm * (dim as f64).sqrt()
}
