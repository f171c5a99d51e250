use std::path::PathBuf;

use latent_text_language_model::LanguageModelError;
use latent_text_nn::weights::WeightsError;

/// What can go wrong with an autoencoder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AutoencoderError {
    /// A setting that no autoencoder can have, alone or with this language model.
    #[error("the autoencoder setting `{setting}` = {value} can't be used: {problem}")]
    Setting {
        /// The field of [`PerceiverConfig`](crate::PerceiverConfig).
        setting: &'static str,
        /// Its value.
        value: String,
        /// What it must be instead.
        problem: String,
    },
    /// A file can't be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file or folder can't be written.
    #[error("cannot write {path}")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The settings' file does not hold settings of an autoencoder.
    #[error("{path} does not hold the settings of an autoencoder")]
    Settings {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The weights can't be loaded or saved.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The language model can't be loaded or saved, or can't work with the texts.
    #[error(transparent)]
    LanguageModel(#[from] LanguageModelError),
    /// Latents were asked of no texts.
    #[error("there is no text to encode")]
    NoTexts,
    /// Statistics were asked of no latents.
    #[error("there are no latents to take statistics of; is the data set empty?")]
    NoLatents,
    /// Statistics were asked of latents that are not numbers.
    #[error("some latents are infinite or not a number; check the autoencoder's weights")]
    NotFinite,
}
