//! The published code's numbers, and what the tests compare them with.

use std::path::PathBuf;

use burn::tensor::{Device, Tensor};
use latent_text_denoiser::{Denoiser, DenoiserConfig, SkipRule, reference_name};
use latent_text_nn::weights::{TensorFile, load_with};

pub fn fixture(name: &str) -> PathBuf {
    // Read when the test runs: checkouts may share one target folder.
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap())
        .join("tests/fixtures/golden")
        .join(name)
}

pub fn golden(name: &str) -> TensorFile {
    TensorFile::open(&fixture(name)).unwrap()
}

pub fn golden_config() -> DenoiserConfig {
    DenoiserConfig {
        latent_dim: 16,
        dim: 128,
        depth: 6,
        skips: SkipRule::ReferenceStack,
        ..Default::default()
    }
}

/// A denoiser with the golden weights.
pub fn golden_denoiser(config: &DenoiserConfig, device: &Device) -> Denoiser {
    let file = golden("denoiser_uncond.safetensors");
    load_with(config.init(device), &file, &reference_name, &|name| name.starts_with("io.")).unwrap()
}

/// The largest absolute difference.
pub fn error<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
    let error: f32 = (a - b).abs().max().into_scalar();
    assert!(error.is_finite());
    error
}
