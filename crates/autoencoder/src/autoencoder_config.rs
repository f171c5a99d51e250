use latent_text_language_model::EncoderDecoderConfig;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::{AutoencoderError, EncoderLatentsConfig, LatentNorm, PerceiverConfig};

/// Which entry of written settings names the kind.
const KIND: &str = "kind";

/// What the latents of a text are, and how they are made.
///
/// In files, `kind` beside the settings is `perceiver` or `encoder`; without it they are a
/// [`PerceiverConfig`], which is also written without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AutoencoderConfig {
    /// A fixed number of vectors that a [`Perceiver`](crate::Perceiver) makes (LD4LG's second version).
    Perceiver(PerceiverConfig),
    /// The encoder's states as they are, one for each token (LD4LG's first version).
    Encoder(EncoderLatentsConfig),
}

impl AutoencoderConfig {
    /// Checks the settings; to be called on those that come from outside.
    ///
    /// # Errors
    /// [`AutoencoderError::Setting`] names the first setting that can't be used.
    pub fn validate(&self) -> Result<(), AutoencoderError> {
        match self {
            Self::Perceiver(config) => config.validate(),
            Self::Encoder(config) => config.validate(),
        }
    }

    /// Checks the settings, also against the language model that the autoencoder is for.
    ///
    /// # Errors
    /// [`AutoencoderError::Setting`] names the first setting that can't be used.
    pub fn validate_with(
        &self,
        language_model: &EncoderDecoderConfig,
    ) -> Result<(), AutoencoderError> {
        match self {
            Self::Perceiver(config) => config.validate_with(language_model),
            Self::Encoder(config) => config.validate_with(language_model),
        }
    }

    /// Width of one latent vector.
    pub fn latent_dim(&self) -> usize {
        match self {
            Self::Perceiver(config) => config.latent_dim,
            Self::Encoder(config) => config.dim_lm,
        }
    }

    /// The number of latent vectors of a text, or the most of them where it varies.
    pub fn max_latents(&self) -> usize {
        match self {
            Self::Perceiver(config) => config.latents,
            Self::Encoder(config) => config.max_tokens,
        }
    }

    /// The most tokens of one text, special ones included.
    pub fn max_tokens(&self) -> usize {
        match self {
            Self::Perceiver(config) => config.max_tokens,
            Self::Encoder(config) => config.max_tokens,
        }
    }

    /// Whether every latent vector has the norm `sqrt(latent_dim)`. A diffusion on others wants
    /// [`LatentStatistics`](crate::LatentStatistics).
    pub fn is_l2_normalised(&self) -> bool {
        matches!(self, Self::Perceiver(config) if config.latent_norm == LatentNorm::L2)
    }

    /// Whether texts have latents in different numbers.
    pub fn has_varying_lengths(&self) -> bool {
        matches!(self, Self::Encoder(_))
    }
}

impl From<PerceiverConfig> for AutoencoderConfig {
    fn from(config: PerceiverConfig) -> Self {
        Self::Perceiver(config)
    }
}

impl From<EncoderLatentsConfig> for AutoencoderConfig {
    fn from(config: EncoderLatentsConfig) -> Self {
        Self::Encoder(config)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Perceiver,
    Encoder,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Tagged<'a> {
    Encoder(&'a EncoderLatentsConfig),
}

impl Serialize for AutoencoderConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Perceiver(config) => config.serialize(serializer),
            Self::Encoder(config) => Tagged::Encoder(config).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for AutoencoderConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut settings = Value::deserialize(deserializer)?;
        let kind = settings.as_object_mut().and_then(|settings| settings.remove(KIND));
        let kind = kind.map_or(Ok(Kind::Perceiver), serde_json::from_value);
        let read = kind.and_then(|kind| match kind {
            Kind::Perceiver => serde_json::from_value(settings).map(Self::Perceiver),
            Kind::Encoder => serde_json::from_value(settings).map(Self::Encoder),
        });
        read.map_err(D::Error::custom)
    }
}
