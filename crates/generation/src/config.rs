use latent_text_autoencoder::LatentStatistics;
use latent_text_conditioning::{ClassLabels, LengthDistribution, LengthPredictorConfig};
use latent_text_denoiser::DenoisingNetworkConfig;
use latent_text_diffusion::{
    GuidanceConfig, NoiseScheduleConfig, Prediction, SamplerKind, Spacing,
};
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
    pub denoiser: DenoisingNetworkConfig,
    /// Noise schedule it was trained with.
    pub schedule: NoiseScheduleConfig,
    /// What it predicts.
    pub prediction: Prediction,
    /// Its classes, if it is class-conditional.
    #[serde(default)]
    pub labels: Option<ClassLabels>,
    /// What source texts are read with, if texts are written for sources. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceConfig>,
    /// Whether it was also trained without its conditions, as guidance and generation without them
    /// need: the probability of dropping them in training was above 0. Default yes.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub null_trained: bool,
    /// Mean and scale of the training latents. They are undone after sampling unless the autoencoder
    /// normalises its latents itself.
    pub statistics: LatentStatistics,
    /// How many latents texts of the training set have, where they have them in varying number; none
    /// where all have as many. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lengths: Option<LengthDistribution>,
    /// What predicts the number of latents from a text's conditions, if something does. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length_predictor: Option<LengthPredictorConfig>,
    /// Architecture of the weaker denoiser that autoguidance leads away from, if there is one. Default
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weaker_denoiser: Option<DenoisingNetworkConfig>,
    /// How to sample where a request doesn't say.
    #[serde(default)]
    pub sampling: SamplingDefaults,
    /// How to decode where a request doesn't say.
    #[serde(default)]
    pub decoding: GenerationConfig,
}

/// What reads the source texts of a sequence-to-sequence model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// Whose encoder.
    pub encoder: SourceEncoder,
    /// The most tokens of a source, special ones included.
    pub max_tokens: usize,
}

/// The encoder that reads source texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceEncoder {
    /// That of the autoencoder's language model.
    Autoencoder,
    /// That of the language model in the folder `source_encoder`.
    Own,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_yes(value: &bool) -> bool {
    *value
}

/// The sampling settings that a model is meant to be used with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingDefaults {
    /// The sampler; default ancestral (DDPM).
    pub sampler: SamplerKind,
    /// Network calls for a text; default 250.
    pub steps: usize,
    /// How the noise levels of the steps are spread; default uniform in time. LD4LG's first version, with
    /// a table of 1000 noise levels, has `trailing`, which keeps to the table's entries; of a level between
    /// them its denoiser is told the nearest entry.
    #[serde(skip_serializing_if = "is_uniform")]
    pub spacing: Spacing,
    /// Rescales each estimated latent vector to norm `sqrt(dim)`, on which l2-normalised latents lie.
    /// Default off, as in LD4LG's unconditional sampler; on is better for l2-normalised latents, whose
    /// self-conditioning estimates are rescaled in training.
    pub rescale_x0: bool,
    /// How the conditional and the unconditional prediction are combined where there is a condition;
    /// default: the conditional one alone. LD4LG has classifier-free guidance of scale 2 for sources.
    #[serde(skip_serializing_if = "is_plain")]
    pub guidance: GuidanceConfig,
}

fn is_uniform(spacing: &Spacing) -> bool {
    *spacing == Spacing::Uniform
}

/// Whether this is the conditional prediction alone.
pub(crate) fn is_plain(guidance: &GuidanceConfig) -> bool {
    *guidance == GuidanceConfig::default()
}

impl Default for SamplingDefaults {
    fn default() -> Self {
        Self {
            sampler: SamplerKind::Ddpm,
            steps: 250,
            spacing: Spacing::Uniform,
            rescale_x0: false,
            guidance: GuidanceConfig::default(),
        }
    }
}
