use std::path::PathBuf;

use latent_text_autoencoder::AutoencoderError;
use latent_text_conditioning::{ConditioningError, InvalidLabels};
use latent_text_denoiser::DenoiserError;
use latent_text_generation::GenerationError;
use latent_text_language_model::LanguageModelError;
use latent_text_nn::weights::WeightsError;

/// Why a checkpoint of the published code can't be read as a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// A run's arguments can't be read.
    #[error("cannot read {path}; a run folder has an args.json and a model.pt")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A run's arguments are not JSON, or no object.
    #[error("{path} does not hold the arguments of a run")]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A run's arguments lack one that the model depends on.
    #[error("{path} lacks `{argument}`, which says {meaning}; add it")]
    NoArgument {
        /// The file.
        path: PathBuf,
        /// The argument.
        argument: &'static str,
        /// What it decides.
        meaning: &'static str,
    },
    /// An argument of a run has a value that no model here can have, or that contradicts another.
    #[error("{path}: `{argument}` = {value} can't be used: {problem}")]
    Argument {
        /// The file.
        path: PathBuf,
        /// The argument.
        argument: &'static str,
        /// Its value.
        value: String,
        /// What it must be instead.
        problem: String,
    },
    /// A checkpoint has other tensors than the published code's models.
    #[error("{path} {problem}")]
    Layout {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The checkpoint depends on something that its files don't hold and that was not given.
    #[error("{needed}; {advice}")]
    NotGiven {
        /// What is needed, and by what.
        needed: String,
        /// What to give.
        advice: &'static str,
    },
    /// Something was given that the checkpoint has no use for.
    #[error("{0}")]
    Needless(String),
    /// The names of the classes can't be used.
    #[error(transparent)]
    Labels(#[from] InvalidLabels),
    /// The lengths of texts can't be used.
    #[error(transparent)]
    Conditioning(#[from] ConditioningError),
    /// A checkpoint can't be read, or lacks tensors or has others than its sizes say.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The language model can't be read.
    #[error(transparent)]
    LanguageModel(#[from] LanguageModelError),
    /// The autoencoder has sizes that can't be used.
    #[error(transparent)]
    Autoencoder(#[from] AutoencoderError),
    /// The denoiser has sizes that can't be used.
    #[error(transparent)]
    Denoiser(#[from] DenoiserError),
    /// The parts do not fit each other.
    #[error(transparent)]
    Generation(#[from] GenerationError),
}
