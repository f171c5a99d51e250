//! The ways into the transformer's stream and out of it, which all denoisers share.

use burn::nn::{Embedding, LayerNorm, Linear};
use burn::tensor::Tensor;
use latent_text_nn::{layer_norm, linear};

/// The stream before the first layer, `[batch, latents, dim]`: projected `inputs`,
/// `[batch, latents, _]`, absolute positions and the condition's `shift`, `[batch or 1, dim]`.
///
/// # Panics
/// If there are more latents than positions.
pub(crate) fn enter(
    inputs: Tensor<3>,
    projection: &Linear,
    positions: &Embedding,
    shift: Tensor<2>,
) -> Tensor<3> {
    let [_, latents, _] = inputs.dims();
    let [known, dim] = positions.weight.dims();
    assert!(latents <= known, "{latents} latents are too many for a denoiser of {known}");
    let h = linear(projection, inputs);
    let positions = positions.weight.val().slice_dim(0, 0..latents) * (dim as f64).powf(-0.5);
    h + positions.unsqueeze_dim(0) + shift.unsqueeze_dim(1)
}

/// What the stream after the last layer says of every latent.
pub(crate) fn leave(h: Tensor<3>, norm: &LayerNorm, projection: &Linear) -> Tensor<3> {
    linear(projection, layer_norm(norm, h))
}
