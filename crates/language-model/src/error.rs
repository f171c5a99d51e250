use std::error::Error;
use std::path::PathBuf;

use burn::tensor::TensorReadError;
use latent_text_nn::weights::WeightsError;

use crate::InvalidConfig;

/// What can go wrong with a language model, its files and its texts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LanguageModelError {
    /// A file of the model folder is not there.
    #[error("{path} is missing; {advice}")]
    Missing {
        /// The file.
        path: PathBuf,
        /// What to do.
        advice: &'static str,
    },
    /// A file or folder can't be read or written.
    #[error("cannot {action} {path}")]
    File {
        /// `read`, `write` or `create`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A JSON file is cut off, or holds other entries than it should.
    #[error("{path} can't be understood; copy or download it again")]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A `config.json` describes a model that this crate can't build.
    #[error("{path} describes a model that can't be built")]
    Config {
        /// The file.
        path: PathBuf,
        /// The value that is wrong.
        #[source]
        source: InvalidConfig,
    },
    /// A configuration made in code describes a model that can't be built.
    #[error(transparent)]
    InvalidConfig(#[from] InvalidConfig),
    /// The weights are missing, damaged, or belong to another configuration.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The files of a tokenizer can't be used.
    #[error("the tokenizer file {path} can't be used; copy or download it again")]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A tokenizer lacks one of the tokens that a language model can't do without.
    #[error(
        "the tokenizer in {path} has no token `{token}`; name its {role} token in \
         tokenizer_config.json"
    )]
    MissingToken {
        /// The tokenizer's file.
        path: PathBuf,
        /// What the token is for: `pad`, `begin-of-text` or `end-of-text`.
        role: &'static str,
        /// The text of the token.
        token: String,
    },
    /// The tokenizer knows ids that the model has no embedding for.
    #[error(
        "the tokenizer has {tokenizer} tokens, but the model's vocab_size is {model}; use the \
         tokenizer that belongs to the model"
    )]
    VocabularySize {
        /// Number of ids that the tokenizer needs.
        tokenizer: usize,
        /// The model's `vocab_size`.
        model: usize,
    },
    /// A vocabulary can't be trained.
    #[error("cannot train a tokenizer")]
    Training {
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A text can't be turned into tokens.
    #[error("cannot tokenize the texts")]
    Encode {
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// Tokens can't be turned into a text.
    #[error("cannot turn tokens back into text")]
    Decode {
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A setting makes no sense.
    #[error("bad setting `{setting}`: {problem}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A search has no way to go on: the settings forbid every token.
    #[error(
        "no text can be written for source {source_index}: the settings forbid every next token; relax \
         bad_words, no_repeat_ngram_size or min_length"
    )]
    NoContinuation {
        /// The source, a row of the encoder's states.
        source_index: usize,
    },
    /// The device failed to hand over a result.
    #[error("cannot read tokens back from the device")]
    Device {
        /// Why.
        #[source]
        source: TensorReadError,
    },
    /// The logits hold NaN or infinities, so that no token can be drawn from them.
    #[error(
        "the model's output is not finite in row {row}; the training that made it diverged, or \
         its dtype is too narrow"
    )]
    NotFinite {
        /// The row of the batch.
        row: usize,
    },
    /// A model can't be had from the hub.
    #[cfg(feature = "hub")]
    #[error(transparent)]
    Hub(#[from] crate::hub::HubError),
}
