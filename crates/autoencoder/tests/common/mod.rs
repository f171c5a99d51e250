//! The published code's numbers, and what the tests compare them with.

use std::path::PathBuf;

use burn::tensor::{Device, Tensor};
use latent_text_autoencoder::{Perceiver, PerceiverConfig, reference_name};
use latent_text_nn::weights::{TensorFile, load_with};

pub fn golden_file() -> PathBuf {
    // Read when the test runs: checkouts may share one target folder.
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap())
        .join("tests/fixtures/golden/autoencoder_l2.safetensors")
}

pub fn golden_config() -> PerceiverConfig {
    PerceiverConfig { dim_lm: 128, latents: 8, layers: 2, ..Default::default() }
}

/// A Perceiver with the golden weights, and the file they come from.
pub fn golden_perceiver(config: &PerceiverConfig, device: &Device) -> (Perceiver, TensorFile) {
    let file = TensorFile::open(&golden_file()).unwrap();
    let perceiver =
        load_with(config.init(device), &file, &reference_name, &|name| name.starts_with("io."))
            .unwrap();
    (perceiver, file)
}

/// The largest absolute difference.
pub fn error<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
    let error: f32 = (a - b).abs().max().into_scalar();
    assert!(error.is_finite());
    error
}
