use burn::tensor::Device;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::settings::refused;
use crate::{DenoiserConfig, DenoiserError, DenoisingNetwork, EncoderSpaceDenoiserConfig};

/// Which entry of written settings names the network.
const KIND: &str = "kind";

/// Settings of a [`DenoisingNetwork`]: which one, and those of its own.
///
/// In files, `kind` beside a network's settings is `latent` or `encoder_space`; without it they are a
/// [`DenoiserConfig`], which is also written without.
#[derive(Clone, Debug, PartialEq)]
pub enum DenoisingNetworkConfig {
    /// Of a [`Denoiser`](crate::Denoiser), LD4LG's second version.
    Latent(DenoiserConfig),
    /// Of an [`EncoderSpaceDenoiser`](crate::EncoderSpaceDenoiser), LD4LG's first version.
    EncoderSpace(EncoderSpaceDenoiserConfig),
}

impl DenoisingNetworkConfig {
    /// A network with fresh parameters on `device`, as [`DenoiserConfig::init`] and
    /// [`EncoderSpaceDenoiserConfig::init`] have them.
    ///
    /// # Panics
    /// If [`validate`](Self::validate) refuses the settings.
    pub fn init(&self, device: &Device) -> DenoisingNetwork {
        match self {
            Self::Latent(config) => config.init(device).into(),
            Self::EncoderSpace(config) => config.init(device).into(),
        }
    }

    /// Checks the settings; to be called on those that come from outside.
    ///
    /// # Errors
    /// [`DenoiserError::Setting`] names the first setting that can't be used.
    pub fn validate(&self) -> Result<(), DenoiserError> {
        match self {
            Self::Latent(config) => config.validate(),
            Self::EncoderSpace(config) => config.validate(),
        }
    }

    /// The same network for `classes` and for sources of width `source_dim`, or without.
    ///
    /// # Errors
    /// [`DenoiserError::Setting`] if sources are asked of an encoder-space denoiser, which reads none.
    pub fn conditioned(
        self,
        classes: Option<usize>,
        source_dim: Option<usize>,
    ) -> Result<Self, DenoiserError> {
        match (self, source_dim) {
            (Self::Latent(config), _) => {
                Ok(Self::Latent(DenoiserConfig { classes, source_dim, ..config }))
            }
            (Self::EncoderSpace(config), None) => {
                Ok(Self::EncoderSpace(EncoderSpaceDenoiserConfig { classes, ..config }))
            }
            (Self::EncoderSpace(_), Some(source_dim)) => {
                let problem = "a denoiser of encoder space reads no sources; use the latent one";
                Err(refused("source_dim", source_dim, problem))
            }
        }
    }

    /// Width of one latent vector.
    pub fn latent_dim(&self) -> usize {
        match self {
            Self::Latent(config) => config.latent_dim,
            Self::EncoderSpace(config) => config.latent_dim,
        }
    }

    /// The most latent vectors of one text.
    pub fn max_latents(&self) -> usize {
        match self {
            Self::Latent(config) => config.max_latents,
            Self::EncoderSpace(config) => config.max_latents,
        }
    }

    /// Number of classes, without the null class; none for an unconditional network.
    pub fn classes(&self) -> Option<usize> {
        match self {
            Self::Latent(config) => config.classes,
            Self::EncoderSpace(config) => config.classes,
        }
    }

    /// Width of the states of sources; none for a network that reads no sources.
    pub fn source_dim(&self) -> Option<usize> {
        match self {
            Self::Latent(config) => config.source_dim,
            Self::EncoderSpace(_) => None,
        }
    }

    /// Whether the network is told the step of a discrete noise schedule and not the noise level.
    pub fn is_told_steps(&self) -> bool {
        matches!(self, Self::EncoderSpace(_))
    }

    /// The name that LD4LG's published code gives to the parameter at `path` of this network.
    pub fn reference_name(&self, path: &str) -> String {
        match self {
            Self::Latent(config) => config.reference_name(path),
            Self::EncoderSpace(config) => config.reference_name(path),
        }
    }
}

impl Default for DenoisingNetworkConfig {
    fn default() -> Self {
        Self::Latent(DenoiserConfig::default())
    }
}

impl From<DenoiserConfig> for DenoisingNetworkConfig {
    fn from(config: DenoiserConfig) -> Self {
        Self::Latent(config)
    }
}

impl From<EncoderSpaceDenoiserConfig> for DenoisingNetworkConfig {
    fn from(config: EncoderSpaceDenoiserConfig) -> Self {
        Self::EncoderSpace(config)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Latent,
    EncoderSpace,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Tagged<'a> {
    EncoderSpace(&'a EncoderSpaceDenoiserConfig),
}

impl Serialize for DenoisingNetworkConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Latent(config) => config.serialize(serializer),
            Self::EncoderSpace(config) => Tagged::EncoderSpace(config).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for DenoisingNetworkConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut settings = Value::deserialize(deserializer)?;
        let kind = settings.as_object_mut().and_then(|settings| settings.remove(KIND));
        let kind = kind.map_or(Ok(Kind::Latent), serde_json::from_value);
        let read = kind.and_then(|kind| match kind {
            Kind::Latent => serde_json::from_value(settings).map(Self::Latent),
            Kind::EncoderSpace => serde_json::from_value(settings).map(Self::EncoderSpace),
        });
        read.map_err(D::Error::custom)
    }
}
