//! Diffusion over the states of the language model's encoder, as in the first version.

use std::path::Path;

use burn::tensor::Device;
use latent_text_autoencoder::{EncoderLatentsConfig, LanguageAutoencoder, LatentSpace};
use latent_text_denoiser::{DenoisingNetworkConfig, EncoderSpaceDenoiserConfig};
use latent_text_diffusion::schedule::{Betas, LinearBetas, Table};
use latent_text_diffusion::{NoiseSchedule, NoiseScheduleConfig, ScheduleKind};
use latent_text_language_model::LanguageModel;
use latent_text_nn::weights::TensorFile;

use crate::ReferenceError;
use crate::arguments::Arguments;
use crate::denoiser::{Sizes, classes};
use crate::tensors::Tensors;

const RELATIVE_POSITIONS: &str = "encoder.rel_pos.relative_attention_bias.weight";
const CLASSES: &str = "class_embedding.weight";

/// A product of a thousand factors in f32 has lost some digits.
const ALPHA_TOLERANCE: f64 = 1e-4;

/// Whether the denoiser is one of the first version.
pub(crate) fn is_first_version(tensors: &Tensors<'_>) -> bool {
    tensors.has(RELATIVE_POSITIONS)
}

pub(crate) fn config(
    arguments: &Arguments,
    tensors: &Tensors<'_>,
    head_dim: usize,
) -> Result<EncoderSpaceDenoiserConfig, ReferenceError> {
    arguments.check_set("self_condition", "denoisers here read their previous estimate")?;
    if !tensors.has("context_proj.weight") {
        return Err(tensors.refused(
            "has no `context_proj`, as without self-conditioning; denoisers here read their previous \
             estimate"
                .to_string(),
        ));
    }
    let sizes = Sizes::read(arguments, tensors, true)?;
    let [relative_buckets, _] = tensors.shape(RELATIVE_POSITIONS)?;
    Ok(EncoderSpaceDenoiserConfig {
        latent_dim: sizes.latent_dim,
        max_latents: sizes.max_latents,
        dim: sizes.dim,
        depth: sizes.depth,
        head_dim,
        ff_mult: sizes.ff_mult,
        time_dim_mult: sizes.time_dim_mult,
        relative_buckets,
        dropout: sizes.dropout,
        classes: classes(tensors, CLASSES)?,
        ..EncoderSpaceDenoiserConfig::default()
    })
}

/// The table of noise levels, which the checkpoint holds itself: one of the two that the published code
/// has.
pub(crate) fn schedule(averages: &TensorFile) -> Result<NoiseScheduleConfig, ReferenceError> {
    let tensors = Tensors { file: averages, prefix: "ema_model." };
    let [len] = tensors.shape("alphas_cumprod")?;
    let alphas = averages.floats(&tensors.full("alphas_cumprod"))?;
    for betas in [Betas::Linear(LinearBetas::default()), Betas::SquaredCosine(Default::default())] {
        let table = Table { betas, len, ..Table::default() };
        let config = NoiseScheduleConfig { kind: ScheduleKind::Table(table), scale: 1.0 };
        // A table that can't be made is none that the code has.
        if config.init().is_ok_and(|schedule| has_alphas(&schedule, &alphas)) {
            return Ok(config);
        }
    }
    Err(tensors.refused(format!(
        "has a noise schedule of {len} steps that is neither linear in beta from 0.0001 to 0.02 nor a \
         squared cosine"
    )))
}

fn has_alphas(schedule: &NoiseSchedule, alphas: &[f32]) -> bool {
    let last = (alphas.len() - 1) as f64;
    alphas.iter().enumerate().all(|(index, &alpha)| {
        let found = schedule.level(index as f64 / last).signal().powi(2);
        (found - f64::from(alpha)).abs() < ALPHA_TOLERANCE
    })
}

/// The language model in `folder`, whose encoder states are the latents of a denoiser like this.
pub(crate) fn autoencoder(
    config: &DenoisingNetworkConfig,
    folder: &Path,
    device: &Device,
) -> Result<LanguageAutoencoder, ReferenceError> {
    let language_model = LanguageModel::load(folder, device)?;
    let config =
        EncoderLatentsConfig { dim_lm: config.latent_dim(), max_tokens: config.max_latents() };
    Ok(LanguageAutoencoder::new(language_model, LatentSpace::Encoder { config })?)
}
