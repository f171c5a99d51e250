use std::path::{Path, PathBuf};

use latent_text_autoencoder::{LatentNorm, PerceiverConfig};
use latent_text_denoiser::DenoiserConfig;
use latent_text_diffusion::{GuidanceConfig, NoiseScheduleConfig, Prediction};
use latent_text_generation::SamplingDefaults;
use latent_text_language_model::{BartConfig, GenerationConfig};
use serde::{Deserialize, Serialize};

use crate::TrainingError;
use crate::data::DatasetConfig;
use crate::noising::NoisingConfig;
use crate::padding::Padding;
use crate::source::{SourceEncoderChoice, SourceSection};
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
    /// The first stage; left out if the autoencoder is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language_model: Option<LanguageModelSection>,
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

/// The autoencoder: one that there is, `{ folder = ".." }`, or how to train one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, try_from = "AutoencoderKeys")]
pub enum AutoencoderSection {
    /// A finished autoencoder with its language model; the first two stages are passed over.
    Given {
        /// An autoencoder's folder, for instance a whole model's. A relative path starts where those
        /// of data sets start.
        folder: PathBuf,
    },
    /// One to be trained.
    Trained(Box<AutoencoderTraining>),
}

impl AutoencoderSection {
    /// How it is trained, if it is.
    pub fn training(&self) -> Option<&AutoencoderTraining> {
        match self {
            Self::Given { .. } => None,
            Self::Trained(training) => Some(training),
        }
    }
}

/// How an autoencoder is trained.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AutoencoderTraining {
    /// Text sets to train on.
    pub data: Vec<DatasetConfig>,
    /// Text sets to validate on.
    pub validation: Vec<DatasetConfig>,
    /// Shape of the Perceiver; its `dim_lm` and `max_tokens` are those of the language model.
    pub model: PerceiverShape,
    /// What is trained beside reconstruction.
    pub objective: AutoencoderObjective,
    /// Steps, batches, optimiser.
    pub training: TrainerConfig,
}

/// What may stand in the section, before it is known which of the two it is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AutoencoderKeys {
    folder: Option<PathBuf>,
    data: Option<Vec<DatasetConfig>>,
    validation: Option<Vec<DatasetConfig>>,
    model: Option<PerceiverShape>,
    objective: Option<AutoencoderObjective>,
    training: Option<TrainerConfig>,
}

impl TryFrom<AutoencoderKeys> for AutoencoderSection {
    type Error = String;

    fn try_from(keys: AutoencoderKeys) -> Result<Self, String> {
        let AutoencoderKeys { folder, data, validation, model, objective, training } = keys;
        let missing = |key: &str| format!("missing field `{key}` of the autoencoder");
        let Some(folder) = folder else {
            return Ok(Self::Trained(Box::new(AutoencoderTraining {
                data: data.ok_or_else(|| missing("data"))?,
                validation: validation.ok_or_else(|| missing("validation"))?,
                model: model.unwrap_or_default(),
                objective: objective.unwrap_or_default(),
                training: training.ok_or_else(|| missing("training"))?,
            })));
        };
        let others = [
            ("data", data.is_some()),
            ("validation", validation.is_some()),
            ("model", model.is_some()),
            ("objective", objective.is_some()),
            ("training", training.is_some()),
        ];
        match others.iter().find(|(_, present)| *present) {
            None => Ok(Self::Given { folder }),
            Some((key, _)) => Err(format!(
                "an autoencoder from a `folder` is not trained; leave out `{key}`, or the folder"
            )),
        }
    }
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
    /// that occur, in alphabetical order. With a `source_column`, it writes texts for sources.
    pub data: Vec<DatasetConfig>,
    /// Text sets to validate on.
    pub validation: Vec<DatasetConfig>,
    /// What the sources are read with; needed if the data has sources, else left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceSection>,
    /// Shape of the denoiser; its `classes` are taken from the data, its `source_dim` from what reads
    /// the sources, and both must be left out.
    #[serde(default)]
    pub model: DenoiserConfig,
    /// Noise schedule; default cosine.
    #[serde(default)]
    pub schedule: NoiseScheduleConfig,
    /// What the network predicts; default v.
    #[serde(default)]
    pub prediction: Prediction,
    /// Loss, noise levels, self-conditioning, dropout of conditions.
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
        match (&self.autoencoder, &self.language_model) {
            (AutoencoderSection::Given { .. }, None) => {}
            (AutoencoderSection::Given { .. }, Some(_)) => {
                return Err(TrainingError::setting(
                    "language_model",
                    "is that of the given autoencoder; leave the section out",
                ));
            }
            (AutoencoderSection::Trained(autoencoder), language_model) => {
                let language_model = language_model.as_ref().ok_or_else(no_language_model)?;
                self.check_first_stages(language_model, autoencoder)?;
            }
        }
        self.diffusion.check()?;
        self.check_source_length()?;
        self.check_generation()
    }

    /// The language model that is trained has no more positions than `max_tokens`.
    fn check_source_length(&self) -> Result<(), TrainingError> {
        let Some(source) = &self.diffusion.source else { return Ok(()) };
        let trained = matches!(self.autoencoder, AutoencoderSection::Trained(_));
        if trained
            && source.encoder == SourceEncoderChoice::Autoencoder
            && source.max_tokens > self.max_tokens
        {
            return Err(TrainingError::setting(
                "diffusion.source.max_tokens",
                format!(
                    "is {}, must not exceed {}, the max_tokens of the language model that is trained",
                    source.max_tokens, self.max_tokens
                ),
            ));
        }
        Ok(())
    }

    /// The section of the first stage.
    ///
    /// # Errors
    /// [`TrainingError::Setting`] if there is none.
    pub(crate) fn language_model(&self) -> Result<&LanguageModelSection, TrainingError> {
        self.language_model.as_ref().ok_or_else(no_language_model)
    }

    /// The section of the second stage.
    ///
    /// # Errors
    /// [`TrainingError::Setting`] if the autoencoder is given.
    pub(crate) fn autoencoder_training(&self) -> Result<&AutoencoderTraining, TrainingError> {
        self.autoencoder.training().ok_or_else(|| {
            TrainingError::setting("autoencoder.folder", "gives an autoencoder; none is trained")
        })
    }

    fn check_first_stages(
        &self,
        language_model: &LanguageModelSection,
        autoencoder: &AutoencoderTraining,
    ) -> Result<(), TrainingError> {
        language_model.training.check("language_model.training")?;
        autoencoder.training.check("autoencoder.training")?;
        language_model.noising.check()?;
        let noise = autoencoder.objective.latent_noise;
        if !(noise.is_finite() && noise >= 0.0) {
            return Err(TrainingError::setting(
                "autoencoder.objective.latent_noise",
                format!("is {noise}, must be at least 0"),
            ));
        }
        language_model.model.bart(language_model.vocabulary, self.max_tokens).validate()?;
        let perceiver = autoencoder.model.perceiver(language_model.model.d_model, self.max_tokens);
        perceiver.validate()?;
        self.diffusion.model.validate()?;
        self.check_fit(&perceiver)
    }

    /// Checks that the denoiser takes the latents of this autoencoder, and that its texts may be as
    /// long as the training's.
    pub(crate) fn check_fit(&self, autoencoder: &PerceiverConfig) -> Result<(), TrainingError> {
        let denoiser = &self.diffusion.model;
        if denoiser.latent_dim != autoencoder.latent_dim
            || denoiser.max_latents < autoencoder.latents
        {
            return Err(TrainingError::setting(
                "diffusion.model",
                format!(
                    "takes up to {} latents of {}, the autoencoder makes {} of {}",
                    denoiser.max_latents,
                    denoiser.latent_dim,
                    autoencoder.latents,
                    autoencoder.latent_dim
                ),
            ));
        }
        if self.max_tokens > autoencoder.max_tokens {
            return Err(TrainingError::setting(
                "max_tokens",
                format!(
                    "is {}, but the given autoencoder reads no more than {} tokens",
                    self.max_tokens, autoencoder.max_tokens
                ),
            ));
        }
        Ok(())
    }

    /// What the finished model is sampled with, which would else fail only after all training.
    fn check_generation(&self) -> Result<(), TrainingError> {
        let sampling = &self.diffusion.sampling;
        if sampling.steps == 0 {
            return Err(TrainingError::setting("diffusion.sampling.steps", "must be at least 1"));
        }
        sampling.guidance.init::<3>()?;
        if sampling.guidance != GuidanceConfig::default() && !self.diffusion.learns_null() {
            return Err(TrainingError::setting(
                "diffusion.sampling.guidance",
                "needs predictions without the condition, which a model learns only with \
                 class_dropout and source_dropout above 0",
            ));
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

fn no_language_model() -> TrainingError {
    TrainingError::setting(
        "language_model",
        "is missing; add the section, or give a finished autoencoder's folder in [autoencoder]",
    )
}

impl DiffusionSection {
    /// Whether every condition of the model is also left away in training.
    pub(crate) fn learns_null(&self) -> bool {
        let labelled = self.data.iter().any(|set| set.label_column.is_some());
        let objective = &self.objective;
        let drops = [
            (labelled, objective.class_dropout),
            (self.source.is_some(), objective.source_dropout),
        ];
        drops.iter().all(|&(conditional, dropout)| !conditional || dropout > 0.0)
    }

    fn check(&self) -> Result<(), TrainingError> {
        self.training.check("diffusion.training")?;
        self.objective.check()?;
        self.model.validate()?;
        self.schedule.init()?;
        for (setting, given, origin) in [
            ("diffusion.model.classes", self.model.classes.is_some(), "the data's labels"),
            (
                "diffusion.model.source_dim",
                self.model.source_dim.is_some(),
                "the encoder in [diffusion.source]",
            ),
        ] {
            if given {
                let problem = format!("is taken from {origin}; leave it out");
                return Err(TrainingError::setting(setting, problem));
            }
        }
        self.check_sources()
    }

    fn check_sources(&self) -> Result<(), TrainingError> {
        let mut sets = self.data.iter().chain(&self.validation);
        match &self.source {
            None if sets.any(|set| set.source_column.is_some()) => Err(TrainingError::setting(
                "diffusion.source",
                "is missing, but a text set has a source_column; add the section or remove the column",
            )),
            None => Ok(()),
            Some(_) if sets.any(|set| set.source_column.is_none()) => Err(TrainingError::setting(
                "diffusion.data",
                "has a text set without a source_column, which [diffusion.source] needs; add it to all \
                 sets, those for validation too",
            )),
            Some(source) => source.check(),
        }
    }
}
