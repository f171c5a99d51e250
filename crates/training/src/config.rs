mod autoencoder;
mod diffusion;
mod language_model;

use std::path::Path;

use latent_text_autoencoder::{AutoencoderConfig, EncoderLatentsConfig};
use latent_text_diffusion::{GuidanceConfig, SamplerPlan};
use serde::{Deserialize, Serialize};

use crate::TrainingError;
use crate::padding::Padding;
use crate::source::SourceEncoderChoice;
use crate::trainer::Precision;

pub use self::autoencoder::{AutoencoderSection, AutoencoderTraining, OwnStates, PerceiverShape};
pub use self::diffusion::DiffusionSection;
pub use self::language_model::{LanguageModelSection, LanguageModelShape, LanguageModelTraining};

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
    /// The language model, which is the first stage or given; left out if the autoencoder is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language_model: Option<LanguageModelSection>,
    /// The second stage.
    pub autoencoder: AutoencoderSection,
    /// The third stage.
    pub diffusion: DiffusionSection,
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
        self.check_first_stages()?;
        self.diffusion.check()?;
        self.check_source_length()?;
        self.check_generation()
    }

    /// The language model that is trained has no more positions than `max_tokens`.
    fn check_source_length(&self) -> Result<(), TrainingError> {
        let Some(source) = &self.diffusion.source else { return Ok(()) };
        let trained = matches!(self.language_model, Some(LanguageModelSection::Trained(_)));
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

    /// The section of the language model.
    ///
    /// # Errors
    /// [`TrainingError::Setting`] if there is none.
    pub(crate) fn language_model(&self) -> Result<&LanguageModelSection, TrainingError> {
        self.language_model.as_ref().ok_or_else(|| {
            TrainingError::setting(
                "language_model",
                "is missing; add the section, or give a finished autoencoder's folder in [autoencoder]",
            )
        })
    }

    /// The section of the first stage.
    ///
    /// # Errors
    /// [`TrainingError::Setting`] if there is none, or if the language model is given.
    pub(crate) fn language_model_training(&self) -> Result<&LanguageModelTraining, TrainingError> {
        self.language_model()?.training().ok_or_else(|| {
            TrainingError::setting(
                "language_model.folder",
                "gives a language model; none is trained",
            )
        })
    }

    /// The section of the second stage.
    ///
    /// # Errors
    /// [`TrainingError::Setting`] if the autoencoder is given or its latents are the encoder's states.
    pub(crate) fn autoencoder_training(&self) -> Result<&AutoencoderTraining, TrainingError> {
        self.autoencoder.training().ok_or_else(|| {
            TrainingError::setting("autoencoder", "has `folder` or `latents`, so none is trained")
        })
    }

    /// The language model and the autoencoder, as far as they are not given.
    fn check_first_stages(&self) -> Result<(), TrainingError> {
        if let AutoencoderSection::Given { .. } = self.autoencoder {
            return match self.language_model {
                None => Ok(()),
                Some(_) => Err(TrainingError::setting(
                    "language_model",
                    "is that of the given autoencoder; leave the section out",
                )),
            };
        }
        if let Some(autoencoder) = self.autoencoder.training() {
            autoencoder.check()?;
        }
        let Some(language_model) = self.language_model()?.training() else { return Ok(()) };
        self.check_language_model(language_model)?;
        let autoencoder = self.autoencoder_on(language_model.model.d_model);
        autoencoder.validate()?;
        self.check_fit(&autoencoder)
    }

    fn check_language_model(&self, section: &LanguageModelTraining) -> Result<(), TrainingError> {
        section.training.check("language_model.training")?;
        section.noising.check()?;
        Ok(section.model.bart(section.vocabulary, self.max_tokens).validate()?)
    }

    /// The autoencoder that is not given, on a language model of width `dim_lm`.
    pub(crate) fn autoencoder_on(&self, dim_lm: usize) -> AutoencoderConfig {
        match self.autoencoder.training() {
            Some(section) => section.perceiver(dim_lm, self.max_tokens).into(),
            None => self.encoder_latents(dim_lm).into(),
        }
    }

    /// The latents of texts where these are the states of an encoder of width `dim_lm`.
    pub(crate) fn encoder_latents(&self, dim_lm: usize) -> EncoderLatentsConfig {
        EncoderLatentsConfig { dim_lm, max_tokens: self.max_tokens }
    }

    /// Checks that the denoiser takes the latents of this autoencoder, and that its texts may be as
    /// long as the training's.
    pub(crate) fn check_fit(&self, autoencoder: &AutoencoderConfig) -> Result<(), TrainingError> {
        let denoiser = &self.diffusion.model;
        let (latents, latent_dim) = (autoencoder.max_latents(), autoencoder.latent_dim());
        if denoiser.latent_dim() != latent_dim || denoiser.max_latents() < latents {
            return Err(TrainingError::setting(
                "diffusion.model",
                format!(
                    "takes up to {} latents of {}, the autoencoder makes {latents} of {latent_dim}",
                    denoiser.max_latents(),
                    denoiser.latent_dim()
                ),
            ));
        }
        if self.diffusion.lengths.is_some() && !autoencoder.has_varying_lengths() {
            return Err(TrainingError::setting(
                "diffusion.lengths",
                format!("is of no use, as all texts have {latents} latents; leave it out"),
            ));
        }
        if self.diffusion.sampling.rescale_x0 && !autoencoder.is_l2_normalised() {
            return Err(TrainingError::setting(
                "diffusion.sampling.rescale_x0",
                "brings all latents to one norm, but those of the autoencoder are not l2-normalised; \
                 leave it out",
            ));
        }
        if self.max_tokens > autoencoder.max_tokens() {
            return Err(TrainingError::setting(
                "max_tokens",
                format!(
                    "is {}, but the given autoencoder reads no more than {} tokens",
                    self.max_tokens,
                    autoencoder.max_tokens()
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
        SamplerPlan::with_sampler(
            &self.diffusion.schedule.init()?,
            sampling.sampler.sampler(),
            self.diffusion.prediction,
            &sampling.spacing,
            sampling.steps,
        )
        .map_err(|error| TrainingError::setting("diffusion.sampling", error.to_string()))?;
        sampling.guidance.init::<3>()?;
        if sampling.guidance != GuidanceConfig::default() && !self.diffusion.has_conditions() {
            return Err(TrainingError::setting(
                "diffusion.sampling.guidance",
                "is of no use to a model without labels and sources; leave it out",
            ));
        }
        if sampling.guidance != GuidanceConfig::default() && !self.diffusion.learns_null() {
            return Err(TrainingError::setting(
                "diffusion.sampling.guidance",
                "needs predictions without the condition, which a model learns only with \
                 class_dropout and source_dropout above 0, or for classes from texts without labels",
            ));
        }
        if needs_weaker_denoiser(&sampling.guidance) {
            return Err(TrainingError::setting(
                "diffusion.sampling.guidance",
                "is autoguidance, which needs a weaker denoiser, and training makes none; use another one \
                 here, and join the finished model with a weaker one",
            ));
        }
        self.check_decoding()
    }

    fn check_decoding(&self) -> Result<(), TrainingError> {
        let decoding = &self.diffusion.decoding;
        let max_length = decoding.max_length;
        if !(2..=self.max_tokens).contains(&max_length) {
            return Err(TrainingError::setting(
                "diffusion.decoding.max_length",
                format!("is {max_length}, must lie in 2..={}, the max_tokens", self.max_tokens),
            ));
        }
        if decoding.returns != 1 {
            return Err(TrainingError::setting(
                "diffusion.decoding.returns",
                format!("is {}, must be 1: latents are decoded to one text", decoding.returns),
            ));
        }
        // How many ids a given language model has is not known before it is read.
        let trained = self.language_model.as_ref().and_then(LanguageModelSection::training);
        let vocabulary = trained.map_or(usize::MAX, |section| section.vocabulary);
        self.check_decoding_fits(Some(self.max_tokens), vocabulary)
    }

    /// Checks the settings of decoding for a language model with so many positions and ids.
    pub(crate) fn check_decoding_fits(
        &self,
        max_positions: Option<usize>,
        vocabulary: usize,
    ) -> Result<(), TrainingError> {
        self.diffusion
            .decoding
            .validate(max_positions, vocabulary)
            .map_err(|error| TrainingError::setting("diffusion.decoding", error.to_string()))
    }
}

/// Whether autoguidance is in it.
fn needs_weaker_denoiser(guidance: &GuidanceConfig) -> bool {
    match guidance {
        GuidanceConfig::Autoguidance { .. } => true,
        GuidanceConfig::Rescaled { inner, .. } | GuidanceConfig::Interval { inner, .. } => {
            needs_weaker_denoiser(inner)
        }
        _ => false,
    }
}
