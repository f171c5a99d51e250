use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use burn::tensor::Device;
use latent_text::autoencoder::PerceiverConfig;
use latent_text::diffusion::{NoiseScheduleConfig, Prediction, TimeSampling};
use latent_text::language_model::BartConfig;
use latent_text::training::latents::{LatentSet, LatentSource, cached_latents};
use latent_text::training::stage::{DiffusionObjective, DiffusionSet, DiffusionStage};
use latent_text::training::{Padding, Precision};

use super::autoencoder;

const TOKENS: usize = 8;
const HEAD_DIM: usize = 16;
/// As many ids as the tokenizer has, of which the first ones are special.
const VOCABULARY: usize = 261;
const SPECIAL: usize = 5;

/// The real stage that trains a denoiser without classes, on latents `[batch, latents, latent_dim]`,
/// of which the share `self_conditioning` of a batch gets an estimate of the network's own.
pub fn diffusion_stage(
    [batch, latents, latent_dim]: [usize; 3],
    self_conditioning: f64,
    device: &Device,
) -> Result<DiffusionStage> {
    let latents = latent_set([2 * batch, latents, latent_dim], device)?;
    let set = Arc::new(DiffusionSet { latents, sources: None });
    Ok(DiffusionStage {
        objective: DiffusionObjective { self_conditioning, ..DiffusionObjective::default() },
        schedule: NoiseScheduleConfig::default().init()?,
        prediction: Prediction::V,
        rescale_estimate: true,
        labels: None,
        times: TimeSampling::Uniform.init()?,
        steps: None,
        train: set.clone(),
        validation: set,
        batch_size: batch,
        seed: 0,
        device: device.clone(),
        decode_samples: Box::new(|_, _| Ok(Vec::new())),
    })
}

/// Latents of random tokens as a small autoencoder with random weights sees them, which runs on the CPU
/// if it can: on a GPU its kernels would be compiled for nothing else.
fn latent_set([texts, latents, latent_dim]: [usize; 3], device: &Device) -> Result<LatentSet> {
    let bart = BartConfig {
        vocab_size: VOCABULARY,
        max_position_embeddings: TOKENS,
        d_model: latent_dim,
        encoder_layers: 1,
        encoder_attention_heads: 1,
        encoder_ffn_dim: latent_dim,
        decoder_layers: 1,
        decoder_attention_heads: 1,
        decoder_ffn_dim: latent_dim,
        ..BartConfig::default()
    };
    let perceiver = PerceiverConfig {
        dim_lm: latent_dim,
        latents,
        latent_dim,
        layers: 1,
        head_dim: HEAD_DIM,
        ff_mult: 1,
        max_tokens: TOKENS,
        ..PerceiverConfig::default()
    };
    let encoding = encoding_device(device);
    let autoencoder = autoencoder(bart, perceiver, &encoding)?;
    let tokens: Vec<Vec<u32>> = (0..texts).map(tokens_of).collect();
    let source = || LatentSource {
        autoencoder: &autoencoder,
        tokens: &tokens,
        classes: Vec::new(),
        batch_size: texts.min(64),
        padding: Padding { max_tokens: TOKENS, multiple: TOKENS },
        precision: Precision::F32,
        fingerprint: String::new(),
    };
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("latents.safetensors");
    let running = AtomicBool::new(false);
    // The first call writes the file, the second one reads it onto the other device.
    cached_latents(&path, source(), &encoding, &running)?;
    Ok(cached_latents(&path, source(), device, &running)?)
}

fn tokens_of(text: usize) -> Vec<u32> {
    let id =
        |place: usize| SPECIAL + (31 * text + 17 * place * (text + 1)) % (VOCABULARY - SPECIAL);
    (0..TOKENS).map(|place| id(place) as u32).collect()
}

#[cfg(feature = "flex")]
fn encoding_device(_: &Device) -> Device {
    Device::flex()
}

#[cfg(not(feature = "flex"))]
fn encoding_device(device: &Device) -> Device {
    device.clone()
}
