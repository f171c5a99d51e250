use std::path::PathBuf;

use latent_text_autoencoder::AutoencoderError;
use latent_text_conditioning::{ConditioningError, InvalidLabels, UnknownLabel};
use latent_text_denoiser::DenoiserError;
use latent_text_diffusion::DiffusionError;
use latent_text_generation::GenerationError;
use latent_text_language_model::{InvalidConfig, LanguageModelError};
use latent_text_nn::weights::WeightsError;

use crate::data::DataError;
use crate::noising::NoisingError;
use crate::report::ReportError;

/// What can end a training.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainingError {
    /// The training data can't be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A setting makes no sense.
    #[error("bad training setting `{setting}`: {problem}")]
    Setting {
        /// Its name in the configuration.
        setting: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The configuration file can't be read or understood.
    #[error("cannot read the training configuration {path}: {problem}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A file can't be read or written.
    #[error("cannot {action} {path}")]
    File {
        /// `read`, `write` or the like.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A checkpoint is damaged or belongs to another training.
    #[error("cannot resume from {path}: {problem}")]
    Checkpoint {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The output folder is in use.
    #[error(
        "{path} already holds a training; continue it with --resume, or choose another output folder"
    )]
    OutputExists {
        /// The folder.
        path: PathBuf,
    },
    /// A stage needs the result of an earlier one.
    #[error("stage `{stage}` needs {missing}; run the earlier stages first")]
    StageMissing {
        /// The stage that was asked for.
        stage: String,
        /// The file or folder that is not there.
        missing: PathBuf,
    },
    /// The training was asked to stop where there is nothing to save yet.
    #[error("interrupted; start again with --resume")]
    Interrupted,
    /// The loss stopped being a number.
    #[error(
        "the loss of stage `{stage}` is {loss} between steps {from} and {to}; nothing was saved since \
         the last checkpoint. Lower the learning rate, or train in f32"
    )]
    NotFinite {
        /// The stage.
        stage: String,
        /// The mean loss of the window.
        loss: f64,
        /// First step of the window.
        from: u64,
        /// Last step of the window.
        to: u64,
    },
    /// The device failed.
    #[error("the device failed: {0}")]
    Device(String),
    /// A weights file can't be used.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The language model can't be used.
    #[error(transparent)]
    LanguageModel(#[from] LanguageModelError),
    /// The autoencoder can't be used.
    #[error(transparent)]
    Autoencoder(#[from] AutoencoderError),
    /// The denoiser can't be used.
    #[error(transparent)]
    Denoiser(#[from] DenoiserError),
    /// The diffusion process can't be used.
    #[error(transparent)]
    Diffusion(#[from] DiffusionError),
    /// The metrics can't be written or drawn.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// The corruption's settings make no sense.
    #[error(transparent)]
    Noising(#[from] NoisingError),
    /// The labels of the data make no classes.
    #[error("the labels of the training data make no classes")]
    Labels(#[from] InvalidLabels),
    /// A validation text has a label that no training text has.
    #[error("the validation data has a label that the training data lacks")]
    UnknownLabel(#[from] UnknownLabel),
    /// The sources can't be read.
    #[error(transparent)]
    Conditioning(#[from] ConditioningError),
    /// The finished model can't be put together, written or sampled from.
    #[error(transparent)]
    Generation(#[from] GenerationError),
    /// The language model's shape makes no sense.
    #[error(transparent)]
    BartConfig(#[from] InvalidConfig),
}

impl TrainingError {
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    pub(crate) fn setting(setting: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Setting { setting: setting.into(), problem: problem.into() }
    }
}
