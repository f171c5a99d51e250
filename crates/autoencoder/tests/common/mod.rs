//! The published code's numbers, and what the tests compare them with.

use std::path::PathBuf;

use burn::tensor::Device;
use latent_text_autoencoder::{Perceiver, PerceiverConfig, reference_name};
use latent_text_nn::weights::{TensorFile, load_with};
use latent_text_testing::fixture;

pub fn golden_file() -> PathBuf {
    fixture("golden/autoencoder_l2.safetensors")
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
