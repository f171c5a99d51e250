use std::path::PathBuf;

use latent_text_autoencoder::AutoencoderError;
use latent_text_conditioning::UnknownLabel;
use latent_text_denoiser::DenoiserError;
use latent_text_diffusion::DiffusionError;
use latent_text_language_model::LanguageModelError;
use latent_text_nn::weights::WeightsError;

/// Why a model can't be loaded, saved or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerationError {
    /// There is no model at the path.
    #[error("{folder} is not a model folder: {missing} is missing{hint}")]
    NoModel {
        /// The folder.
        folder: PathBuf,
        /// What it should hold.
        missing: String,
        /// What to do.
        hint: &'static str,
    },
    /// A file of the folder can't be read or written.
    #[error("cannot {action} {path}")]
    File {
        /// `read`, `write` or `create`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// `config.json` says something that this version doesn't understand.
    #[error("cannot understand {path}")]
    Config {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The folder was written by another version of the format.
    #[error("{path} has format version {found}, this version of latent-text reads {known}")]
    FormatVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The version that is understood.
        known: u32,
    },
    /// The parts of the model don't fit each other.
    #[error("the model's parts don't fit: {0}")]
    Inconsistent(String),
    /// A class was asked of a model without classes.
    #[error("the model has no classes, so it can't generate the label `{0}`; leave labels out")]
    NotConditional(String),
    /// The request makes no sense.
    #[error("bad request: {0}")]
    Request(String),
    /// The label isn't one of the model's.
    #[error(transparent)]
    Label(#[from] UnknownLabel),
    /// The autoencoder can't be used.
    #[error(transparent)]
    Autoencoder(#[from] AutoencoderError),
    /// The denoiser can't be used.
    #[error(transparent)]
    Denoiser(#[from] DenoiserError),
    /// The diffusion process can't be used, or the caller's callback stopped it.
    #[error(transparent)]
    Diffusion(#[from] DiffusionError),
    /// The language model can't be used.
    #[error(transparent)]
    LanguageModel(#[from] LanguageModelError),
    /// A weights file can't be used.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}
