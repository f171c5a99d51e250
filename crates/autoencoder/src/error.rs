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
        /// The field of [`PerceiverConfig`](crate::PerceiverConfig) or
        /// [`EncoderLatentsConfig`](crate::EncoderLatentsConfig).
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
    /// A text has no token at all, so that it has no latent of its own.
    #[error(
        "text {index} (counted from 0) has no token, so no latent stands for it; leave it out, or use \
         a tokenizer with special tokens"
    )]
    NoTokens {
        /// Its place in the batch.
        index: usize,
    },
    /// The device failed to hand over latents.
    #[error("cannot read latents back from the device: {0}")]
    Device(String),
    /// Statistics were asked of no latents.
    #[error("there are no latents to take statistics of; is the data set empty?")]
    NoLatents,
    /// Statistics were asked of latents that are not numbers.
    #[error("some latents are infinite or not a number; check the autoencoder's weights")]
    NotFinite,
}
