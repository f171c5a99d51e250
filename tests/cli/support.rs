//! Runs the example programs, and makes tiny models for them.

use std::collections::BTreeMap;
use std::env::consts::EXE_SUFFIX;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use assert_cmd::Command;
use burn::tensor::{Device, FloatDType};
use latent_text::autoencoder::{
    EncoderLatentsConfig, LanguageAutoencoder, LatentNorm, LatentSpace, LatentStatistics,
    PerceiverConfig,
};
use latent_text::conditioning::{ClassLabels, LengthDistribution};
use latent_text::denoiser::{DenoiserConfig, EncoderSpaceDenoiserConfig};
use latent_text::diffusion::schedule::Table;
use latent_text::diffusion::{NoiseScheduleConfig, Prediction, ScheduleKind};
use latent_text::generation::FORMAT_VERSION;
use latent_text::language_model::{BartConfig, GenerationConfig, LanguageModel, TextTokenizer};
use latent_text::{LatentText, ModelConfig, SamplingDefaults, SourceConfig, SourceEncoder};
use tempfile::TempDir;

/// The checkout's root. Read when a test runs: checkouts may share one target folder.
pub fn root() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap())
}

/// An example program, which `cargo test` builds beside the tests' own folder.
pub fn example(name: &str) -> Command {
    let mut command = Command::new(example_path(name));
    command.timeout(Duration::from_secs(300));
    command
}

pub fn example_path(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).expect("tests lie in a folder `deps`");
    let path = profile.join("examples").join(format!("{name}{EXE_SUFFIX}"));
    assert!(path.is_file(), "{} is missing; run `cargo build --examples`", path.display());
    path
}

/// Runs a program that must end with `code` and one error; returns its stderr.
#[track_caller]
pub fn refused(command: &mut Command, code: i32) -> String {
    let output = command.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    let errors = stderr.lines().filter(|line| line.starts_with("error: ")).count();
    assert_eq!(errors, 1, "{stderr}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    stderr
}

/// Runs a program that must succeed; returns its stdout and its stderr.
#[track_caller]
pub fn succeeded(command: &mut Command) -> (String, String) {
    let output = command.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    (String::from_utf8(output.stdout).unwrap(), stderr)
}

#[track_caller]
pub fn assert_mentions(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

/// The content of every file below `folder`.
pub fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let content = fs::read(&path).unwrap();
                found.insert(path.strip_prefix(folder).unwrap().to_path_buf(), content);
            }
        }
    }
    found
}

pub const LABELS: [&str; 2] = ["pub", "cafe"];

/// Width of the denoiser of [`conditional_model`].
pub const DIM: usize = 16;

/// A saved model with classes and untrained weights.
pub fn conditional_model() -> TempDir {
    saved_model(Some(ClassLabels::new(LABELS).unwrap()), DIM)
}

/// A saved model without classes.
pub fn unconditional_model() -> TempDir {
    saved_model(None, DIM)
}

/// A saved model without classes that reads sources of up to 12 tokens.
pub fn source_model() -> TempDir {
    let device = Device::default();
    let mut config = model_config(None, DIM);
    let source_dim = Some(perceiver_config().dim_lm);
    config.denoiser = config.denoiser.conditioned(None, source_dim).unwrap();
    config.source = Some(SourceConfig { encoder: SourceEncoder::Autoencoder, max_tokens: 12 });
    saved(config, &device)
}

/// A saved model of LD4LG's first version: its texts have as many latents as tokens, up to 16.
pub fn encoder_space_model() -> TempDir {
    let device = Device::default();
    let denoiser = EncoderSpaceDenoiserConfig {
        latent_dim: 16,
        max_latents: 16,
        dim: DIM,
        depth: 2,
        head_dim: 8,
        ..EncoderSpaceDenoiserConfig::default()
    };
    let kind = ScheduleKind::Table(Table::default());
    let config = ModelConfig {
        denoiser: denoiser.into(),
        schedule: NoiseScheduleConfig { kind, ..NoiseScheduleConfig::default() },
        prediction: Prediction::X0,
        statistics: LatentStatistics { mean: vec![0.0; 16], scale: 1.0, count: 100 },
        lengths: Some(LengthDistribution::from_counts(vec![1; 16]).unwrap()),
        ..model_config(None, DIM)
    };
    let space =
        LatentSpace::Encoder { config: EncoderLatentsConfig { dim_lm: 16, max_tokens: 16 } };
    saved_with(config, space, &device)
}

pub fn saved_model(labels: Option<ClassLabels>, dim: usize) -> TempDir {
    saved(model_config(labels, dim), &Device::default())
}

fn model_config(labels: Option<ClassLabels>, dim: usize) -> ModelConfig {
    ModelConfig {
        format_version: FORMAT_VERSION,
        denoiser: DenoiserConfig {
            latent_dim: 8,
            max_latents: 4,
            dim,
            depth: 2,
            head_dim: 8,
            ff_mult: 2,
            time_dim_mult: 1,
            dense_connections: 1,
            classes: labels.as_ref().map(|labels| labels.names().len()),
            ..DenoiserConfig::default()
        }
        .into(),
        schedule: NoiseScheduleConfig::default(),
        prediction: Prediction::V,
        labels,
        source: None,
        null_trained: true,
        statistics: LatentStatistics { mean: vec![0.0; 8], scale: 1.0, count: 100 },
        lengths: None,
        length_predictor: None,
        weaker_denoiser: None,
        sampling: SamplingDefaults { steps: 5, ..SamplingDefaults::default() },
        decoding: GenerationConfig { max_length: 16, ..GenerationConfig::default() },
    }
}

fn saved(config: ModelConfig, device: &Device) -> TempDir {
    let perceiver = perceiver_config();
    let space = LatentSpace::Perceiver { perceiver: perceiver.init(device), config: perceiver };
    saved_with(config, space, device)
}

fn saved_with(config: ModelConfig, space: LatentSpace, device: &Device) -> TempDir {
    let autoencoder = LanguageAutoencoder::new(language_model(device), space);
    let denoiser = config.denoiser.init(device);
    let model = LatentText::new(config, autoencoder.unwrap(), denoiser, device).unwrap();
    let folder = tempfile::tempdir().unwrap();
    model.save(folder.path(), FloatDType::F32).unwrap();
    folder
}

fn language_model(device: &Device) -> LanguageModel {
    let texts = ["The Vaults is a cheap pub near the river.", "The Mill is a cheap cafe."];
    let tokenizer = TextTokenizer::train_byte_level_bpe(texts, 280).unwrap();
    let config = BartConfig {
        vocab_size: tokenizer.vocab_size(),
        max_position_embeddings: 16,
        d_model: 16,
        encoder_layers: 1,
        encoder_attention_heads: 2,
        encoder_ffn_dim: 32,
        decoder_layers: 1,
        decoder_attention_heads: 2,
        decoder_ffn_dim: 32,
        init_std: 1.0,
        ..BartConfig::default()
    };
    LanguageModel::new(config, tokenizer, device).unwrap()
}

fn perceiver_config() -> PerceiverConfig {
    PerceiverConfig {
        dim_lm: 16,
        latents: 4,
        latent_dim: 8,
        layers: 1,
        head_dim: 8,
        ff_mult: 2,
        max_tokens: 16,
        latent_norm: LatentNorm::L2,
        ..PerceiverConfig::default()
    }
}
