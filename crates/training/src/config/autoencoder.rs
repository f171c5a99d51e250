use std::path::PathBuf;

use latent_text_autoencoder::{LatentNorm, PerceiverConfig};
use serde::{Deserialize, Serialize};

use crate::TrainingError;
use crate::data::DatasetConfig;
use crate::stage::AutoencoderObjective;
use crate::trainer::TrainerConfig;

/// The autoencoder: one that there is, `{ folder = ".." }`, the language model's own encoder states,
/// `{ latents = "encoder" }`, or how to train one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, try_from = "AutoencoderKeys")]
pub enum AutoencoderSection {
    /// A finished autoencoder with its language model; the first two stages are passed over.
    Given {
        /// An autoencoder's folder, for instance a whole model's. A relative path starts where those
        /// of data sets start.
        folder: PathBuf,
    },
    /// None to be trained: the diffusion runs on the states of the language model's encoder, one for each
    /// token of a text (LD4LG's first version, and "BART-Diffusion" in its second).
    EncoderStates {
        /// Whose states.
        latents: OwnStates,
    },
    /// One to be trained.
    Trained(Box<AutoencoderTraining>),
}

impl AutoencoderSection {
    /// How it is trained, if it is.
    pub fn training(&self) -> Option<&AutoencoderTraining> {
        match self {
            Self::Given { .. } | Self::EncoderStates { .. } => None,
            Self::Trained(training) => Some(training),
        }
    }
}

/// States of the language model that serve as latents as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnStates {
    /// The last hidden states of the encoder.
    Encoder,
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

impl AutoencoderTraining {
    /// Checks the values that no language model is needed for.
    ///
    /// # Errors
    /// [`TrainingError::Setting`], naming the setting.
    pub(crate) fn check(&self) -> Result<(), TrainingError> {
        self.training.check("autoencoder.training")?;
        self.objective.check()
    }

    /// The Perceiver, on a language model of width `dim_lm`; with a Gaussian posterior if the objective
    /// has a KL term.
    pub fn perceiver(&self, dim_lm: usize, max_tokens: usize) -> PerceiverConfig {
        let gaussian_posterior = self.objective.kl > 0.0;
        PerceiverConfig { gaussian_posterior, ..self.model.perceiver(dim_lm, max_tokens) }
    }
}

/// What may stand in the section, before it is known which of them it is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AutoencoderKeys {
    folder: Option<PathBuf>,
    latents: Option<OwnStates>,
    data: Option<Vec<DatasetConfig>>,
    validation: Option<Vec<DatasetConfig>>,
    model: Option<PerceiverShape>,
    objective: Option<AutoencoderObjective>,
    training: Option<TrainerConfig>,
}

impl TryFrom<AutoencoderKeys> for AutoencoderSection {
    type Error = String;

    fn try_from(keys: AutoencoderKeys) -> Result<Self, String> {
        let AutoencoderKeys { folder, latents, data, validation, model, objective, training } =
            keys;
        let missing = |key: &str| format!("missing field `{key}` of the autoencoder");
        let (section, kind, given) = match (folder, latents) {
            (Some(_), Some(_)) => {
                let problem = "an autoencoder from a `folder` has its own latents; leave out `latents`, \
                               or the folder";
                return Err(problem.to_string());
            }
            (Some(folder), None) => {
                (Self::Given { folder }, "an autoencoder from a `folder`", "folder")
            }
            (None, Some(latents)) => (
                Self::EncoderStates { latents },
                "an autoencoder of the encoder's own states",
                "latents",
            ),
            (None, None) => {
                return Ok(Self::Trained(Box::new(AutoencoderTraining {
                    data: data.ok_or_else(|| missing("data"))?,
                    validation: validation.ok_or_else(|| missing("validation"))?,
                    model: model.unwrap_or_default(),
                    objective: objective.unwrap_or_default(),
                    training: training.ok_or_else(|| missing("training"))?,
                })));
            }
        };
        let others = [
            ("data", data.is_some()),
            ("validation", validation.is_some()),
            ("model", model.is_some()),
            ("objective", objective.is_some()),
            ("training", training.is_some()),
        ];
        match others.iter().find(|(_, present)| *present) {
            None => Ok(section),
            Some((key, _)) => {
                Err(format!("{kind} is not trained; leave out `{key}`, or `{given}`"))
            }
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
    /// The configuration without a posterior, on a language model of width `dim_lm`.
    fn perceiver(&self, dim_lm: usize, max_tokens: usize) -> PerceiverConfig {
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
            gaussian_posterior: false,
        }
    }
}
