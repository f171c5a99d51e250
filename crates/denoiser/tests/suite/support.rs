//! The recorded numbers, and what the tests compare them with.

use burn::module::Module;
use burn::tensor::{Bool, Device, Tensor, TensorData};
use latent_text_denoiser::{Denoiser, DenoiserConfig, SelfCondition, SkipRule};
use latent_text_nn::weights::{TensorFile, load_with};
use latent_text_testing::fixture;
use safetensors::SafeTensors;

pub fn tensors(name: &str) -> TensorFile {
    TensorFile::open(&fixture(name)).unwrap()
}

/// A mask that the published code's numbers hold as bytes.
pub fn byte_mask(file: &str, name: &str, device: &Device) -> Tensor<2, Bool> {
    let bytes = std::fs::read(fixture(file)).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let view = tensors.tensor(name).unwrap();
    let values: Vec<bool> = view.data().iter().map(|&byte| byte != 0).collect();
    Tensor::from_data(TensorData::new(values, view.shape().to_vec()), device)
}

/// `module` with the weights of this file, whose `io.*` are inputs and outputs.
pub fn with_weights<M: Module>(module: M, file: &str, name_of: impl Fn(&str) -> String) -> M {
    load_with(module, &tensors(file), &name_of, &|name| name.starts_with("io.")).unwrap()
}

/// The denoiser without classes and sources that the golden files have weights of.
pub fn golden_config() -> DenoiserConfig {
    DenoiserConfig {
        latent_dim: 16,
        dim: 128,
        depth: 6,
        skips: SkipRule::ReferenceStack,
        ..Default::default()
    }
}

/// A denoiser with the weights of the unconditional golden file.
pub fn golden_denoiser(config: &DenoiserConfig, device: &Device) -> Denoiser {
    let name_of = |path: &str| config.reference_name(path);
    with_weights(config.init(device), "golden/denoiser_uncond.safetensors", name_of)
}

/// A denoiser with the weights of the sequence-to-sequence golden file.
pub fn golden_seq2seq(device: &Device) -> Denoiser {
    let config = DenoiserConfig {
        dim: 64,
        depth: 3,
        dense_connections: 1,
        source_dim: Some(24),
        ..golden_config()
    };
    let name_of = |path: &str| config.reference_name(path);
    with_weights(config.init(device), "golden/denoiser_seq2seq.safetensors", name_of)
}

/// An estimate for all samples.
pub fn for_all(estimate: Tensor<3>) -> Option<SelfCondition> {
    Some(SelfCondition { estimate, present: None })
}
