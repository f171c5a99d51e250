#![doc = include_str!("../README.md")]

mod kernel_cache;

pub use latent_text_autoencoder as autoencoder;
pub use latent_text_conditioning as conditioning;
pub use latent_text_denoiser as denoiser;
pub use latent_text_diffusion as diffusion;
pub use latent_text_generation as generation;
pub use latent_text_language_model as language_model;
pub use latent_text_nn as nn;
pub use latent_text_reference as reference;
#[cfg(feature = "training")]
pub use latent_text_training as training;

pub use kernel_cache::keep_kernels;
pub use latent_text_autoencoder::Latents;
pub use latent_text_conditioning::Similarity;
pub use latent_text_diffusion::GuidanceConfig;
pub use latent_text_generation::{
    Choice, Generated, GenerationError, GuidedRows, LatentText, Lengths, ModelConfig, Request,
    SamplingDefaults, SourceConfig, SourceEncoder, StepPreview,
};
#[cfg(feature = "cublas")]
pub use latent_text_nn::allow_tf32;
