//! What the benches and the test of costs share: models with random weights, and what they work on.

#![allow(dead_code, unused_imports)] // Each program uses some of this module.

mod latents;
mod models;

pub use latents::diffusion_stage;
pub use models::{
    FULL_PARAMETERS, LATENT_DIM, LATENTS, TOKENS, autoencoder, bart_base, language_model, model,
    shipped_bart, shipped_denoiser, shipped_perceiver,
};

use burn::tensor::{Device, Tensor};
use latent_text::diffusion::SampleNoise;

/// Standard normal numbers, the same ones on every run and device.
pub fn noise(shape: [usize; 3], device: &Device) -> Tensor<3> {
    SampleNoise::new(0, 0..shape[0] as u64).normal(shape, device)
}
