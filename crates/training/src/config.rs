use std::path::Path;

use latent_text_autoencoder::{LatentNorm, PerceiverConfig};
use latent_text_denoiser::DenoiserConfig;
use latent_text_diffusion::{NoiseScheduleConfig, Prediction};
use latent_text_generation::SamplingDefaults;
use latent_text_language_model::{BartConfig, GenerationConfig};
use serde::{Deserialize, Serialize};

use crate::TrainingError;
use crate::data::DatasetConfig;
use crate::noising::NoisingConfig;
use crate::padding::Padding;
use crate::stage::{AutoencoderObjective, DiffusionObjective};
use crate::trainer::{Precision, TrainerConfig};

/// Everything from raw text to a model folder, as a TOML file says it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingConfig {
    /// Seed of all generators; default 42.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// Number format of the passes; default f32.
    #[serde(default)]
    pub precision: Precision,
    /// Longest text in tokens, with its start and end tokens; default 64. Longer texts are cut into
    /// pieces for the language model and left out of the other stages.
    #[serde(default = "default_max_tokens")]
    pub max_tokens: usize,
    /// Batches of tokens are padded to a multiple of this; default 8. The value of `max_tokens` gives
    /// all batches one shape, for which GPU kernels are tuned once; smaller ones save work, and then
    /// texts of similar length share a batch.
    #[serde(default = "default_pad_to_multiple")]
    pub pad_to_multiple: usize,
    /// The first stage.
    pub language_model: LanguageModelSection,
    /// The second stage.
    pub autoencoder: AutoencoderSection,
    /// The third stage.
    pub diffusion: DiffusionSection,
}

/// Tokenizer and language model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LanguageModelSection {
    /// Text sets to train on; `repeat` weighs them.
    pub data: Vec<DatasetConfig>,
    /// Text sets to validate on.
    pub validation: Vec<DatasetConfig>,
    /// Tokens of the byte-level BPE that is learnt from the data; default 4096.
    #[serde(default = "default_vocabulary")]
    pub vocabulary: usize,
    /// Shape of the BART model.
    #[serde(default)]
    pub model: LanguageModelShape,
    /// BART's corruption.
    #[serde(default)]
    pub noising: NoisingConfig,
    /// Steps, batches, optimiser.
    pub training: TrainerConfig,
}

/// The shape of a small BART model; encoder and decoder are alike but for their depth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LanguageModelShape {
    /// Width of the token states; default 256.
    pub d_model: usize,
    /// Encoder layers; default 3.
    pub encoder_layers: usize,
    /// Decoder layers; default 3.
    pub decoder_layers: usize,
    /// Attention heads; default 4.
    pub heads: usize,
    /// Inner width of the feed-forward layers; default 1024.
    pub ffn_dim: usize,
    /// Dropout while the language model trains; default 0.1.
    pub dropout: f64,
}

impl Default for LanguageModelShape {
    fn default() -> Self {
        Self {
            d_model: 256,
            encoder_layers: 3,
            decoder_layers: 3,
            heads: 4,
            ffn_dim: 1024,
            dropout: 0.1,
        }
    }
}

impl LanguageModelShape {
    /// The BART configuration of this shape for a tokenizer of `vocabulary` tokens, under the special
    /// tokens of [`TextTokenizer::train_byte_level_bpe`](latent_text_language_model::TextTokenizer).
    pub fn bart(&self, vocabulary: usize, max_tokens: usize) -> BartConfig {
        BartConfig {
            vocab_size: vocabulary,
            max_position_embeddings: max_tokens,
            d_model: self.d_model,
            encoder_layers: self.encoder_layers,
            decoder_layers: self.decoder_layers,
            encoder_attention_heads: self.heads,
            decoder_attention_heads: self.heads,
            encoder_ffn_dim: self.ffn_dim,
            decoder_ffn_dim: self.ffn_dim,
            dropout: self.dropout,
            ..BartConfig::default()
        }
    }
}

/// The autoencoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutoencoderSection {
    /// Text sets to train on.
    pub data: Vec<DatasetConfig>,
    /// Text sets to validate on.
    pub validation: Vec<DatasetConfig>,
    /// Shape of the Perceiver; its `dim_lm` and `max_tokens` are those of the language model.
    #[serde(default)]
    pub model: PerceiverShape,
    /// What is trained beside reconstruction.
    #[serde(default)]
    pub objective: AutoencoderObjective,
    /// Steps, batches, optimiser.
    pub training: TrainerConfig,
}

/// The part of a [`PerceiverConfig`] that the language model does not decide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PerceiverShape {
    /// Latent vectors of a text; default 32.
    pub latents: usize,
    /// Width of a latent vector; default 64.
    pub latent_dim: usize,
    /// Layers of each of the two networks; default 3.
    pub layers: usize,
    /// Width of an attention head; default 64.
    pub head_dim: usize,
    /// Inner width of the feed-forward networks as a multiple of their outer width; default 4.
    pub ff_mult: usize,
    /// What is done to each latent vector; default l2.
    pub latent_norm: LatentNorm,
}

impl Default for PerceiverShape {
    fn default() -> Self {
        let PerceiverConfig { latents, latent_dim, layers, head_dim, ff_mult, latent_norm, .. } =
            PerceiverConfig::default();
        Self { latents, latent_dim, layers, head_dim, ff_mult, latent_norm }
    }
}

impl PerceiverShape {
    /// The whole configuration, on a language model of width `dim_lm`.
    pub fn perceiver(&self, dim_lm: usize, max_tokens: usize) -> PerceiverConfig {
        let Self { latents, latent_dim, layers, head_dim, ff_mult, latent_norm } = self.clone();
        PerceiverConfig {
            dim_lm,
            latents,
            latent_dim,
            layers,
            head_dim,
            ff_mult,
            max_tokens,
            latent_norm,
        }
    }
}

/// The diffusion model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiffusionSection {
    /// Text sets to train on; with a `label_column`, the model is class-conditional on the labels
    /// that occur, in alphabetical order.
    pub data: Vec<DatasetConfig>,
    /// Text sets to validate on.
    pub validation: Vec<DatasetConfig>,
    /// Shape of the denoiser; its `classes` are taken from the data and must be left out.
    #[serde(default)]
    pub model: DenoiserConfig,
    /// Noise schedule; default cosine.
    #[serde(default)]
    pub schedule: NoiseScheduleConfig,
    /// What the network predicts; default v.
    #[serde(default)]
    pub prediction: Prediction,
    /// Loss, self-conditioning, class dropout.
    #[serde(default)]
    pub objective: DiffusionObjective,
    /// How the finished model samples by default.
    #[serde(default)]
    pub sampling: SamplingDefaults,
    /// How the finished model decodes by default.
    #[serde(default)]
    pub decoding: GenerationConfig,
    /// Steps, batches, optimiser.
    pub training: TrainerConfig,
}

fn default_seed() -> u64 {
    42
}

fn default_max_tokens() -> usize {
    64
}

fn default_pad_to_multiple() -> usize {
    8
}

fn default_vocabulary() -> usize {
    4096
}

impl TrainingConfig {
    /// How token batches are padded.
    pub fn padding(&self) -> Padding {
        Padding { max_tokens: self.max_tokens, multiple: self.pad_to_multiple }
    }

    /// Reads and checks a TOML file.
    ///
    /// # Errors
    /// [`TrainingError::Config`] for a file that can't be read, an unknown key or a wrong type, with
    /// its line; [`TrainingError::Setting`] and others for values out of range.
    pub fn from_file(path: &Path) -> Result<Self, TrainingError> {
        let unreadable =
            |problem: String| TrainingError::Config { path: path.to_path_buf(), problem };
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        let config: Self = toml::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
        config.check()?;
        Ok(config)
    }

    /// Checks the values before anything is trained.
    ///
    /// # Errors
    /// [`TrainingError::Setting`] and the like, naming the setting.
    pub fn check(&self) -> Result<(), TrainingError> {
        if self.max_tokens < 4 {
            return Err(TrainingError::setting("max_tokens", "must be at least 4"));
        }
        if self.pad_to_multiple == 0 {
            return Err(TrainingError::setting("pad_to_multiple", "must be at least 1"));
        }
        let language_model = &self.language_model;
        language_model.training.check("language_model.training")?;
        self.autoencoder.training.check("autoencoder.training")?;
        self.diffusion.training.check("diffusion.training")?;
        self.diffusion.objective.check()?;
        language_model.noising.check()?;
        let noise = self.autoencoder.objective.latent_noise;
        if !(noise.is_finite() && noise >= 0.0) {
            return Err(TrainingError::setting(
                "autoencoder.objective.latent_noise",
                format!("is {noise}, must be at least 0"),
            ));
        }
        language_model.model.bart(language_model.vocabulary, self.max_tokens).validate()?;
        self.check_generation()?;
        let perceiver =
            self.autoencoder.model.perceiver(language_model.model.d_model, self.max_tokens);
        perceiver.validate()?;
        let denoiser = &self.diffusion.model;
        denoiser.validate()?;
        self.diffusion.schedule.init()?;
        if denoiser.classes.is_some() {
            return Err(TrainingError::setting(
                "diffusion.model.classes",
                "is taken from the data's labels; leave it out",
            ));
        }
        if denoiser.latent_dim != perceiver.latent_dim || denoiser.max_latents < perceiver.latents {
            return Err(TrainingError::setting(
                "diffusion.model",
                format!(
                    "takes up to {} latents of {}, the autoencoder makes {} of {}",
                    denoiser.max_latents,
                    denoiser.latent_dim,
                    perceiver.latents,
                    perceiver.latent_dim
                ),
            ));
        }
        Ok(())
    }

    /// What the finished model is sampled with, which would else fail only after all training.
    fn check_generation(&self) -> Result<(), TrainingError> {
        if self.diffusion.sampling.steps == 0 {
            return Err(TrainingError::setting("diffusion.sampling.steps", "must be at least 1"));
        }
        let max_length = self.diffusion.decoding.max_length;
        if !(2..=self.max_tokens).contains(&max_length) {
            return Err(TrainingError::setting(
                "diffusion.decoding.max_length",
                format!("is {max_length}, must lie in 2..={}, the max_tokens", self.max_tokens),
            ));
        }
        Ok(())
    }
}
