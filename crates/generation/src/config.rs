use latent_text_autoencoder::LatentStatistics;
use latent_text_conditioning::ClassLabels;
use latent_text_denoiser::DenoiserConfig;
use latent_text_diffusion::{NoiseScheduleConfig, Prediction, SamplerKind};
use latent_text_language_model::GenerationConfig;
use serde::{Deserialize, Serialize};

/// The version of the model folder's format.
pub const FORMAT_VERSION: u32 = 1;

/// `config.json` of a model folder: all that is not weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Version of the format, [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Architecture of the denoiser.
    pub denoiser: DenoiserConfig,
    /// Noise schedule it was trained with.
    pub schedule: NoiseScheduleConfig,
    /// What it predicts.
    pub prediction: Prediction,
    /// Its classes, if it is class-conditional.
    #[serde(default)]
    pub labels: Option<ClassLabels>,
    /// Mean and scale of the training latents. They are undone after sampling unless the autoencoder
    /// normalises its latents itself.
    pub statistics: LatentStatistics,
    /// How to sample where a request doesn't say.
    #[serde(default)]
    pub sampling: SamplingDefaults,
    /// How to decode where a request doesn't say.
    #[serde(default)]
    pub decoding: GenerationConfig,
}

/// The sampling settings that a model is meant to be used with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingDefaults {
    /// The sampler; default ancestral (DDPM).
    pub sampler: SamplerKind,
    /// Network calls for a text; default 250.
    pub steps: usize,
    /// Rescales each estimated latent vector to norm `sqrt(dim)`, on which l2-normalised latents lie.
    /// Default off, as in LD4LG's unconditional sampler; on is better for l2-normalised latents, whose
    /// self-conditioning estimates are rescaled in training.
    pub rescale_x0: bool,
}

impl Default for SamplingDefaults {
    fn default() -> Self {
        Self { sampler: SamplerKind::Ddpm, steps: 250, rescale_x0: false }
    }
}
