use latent_text_language_model::LanguageModelError;

/// Why a condition can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConditioningError {
    /// The longest source that is asked for does not fit the encoder.
    #[error("sources can't have max_tokens = {max_tokens}: {problem}")]
    MaxTokens {
        /// The value given.
        max_tokens: usize,
        /// Why not.
        problem: String,
    },
    /// There is no source to read.
    #[error("there is no source text to read")]
    NoSources,
    /// A source has no tokens.
    #[error("source {index} (counted from 0) is empty")]
    EmptySource {
        /// Its place.
        index: usize,
    },
    /// A source has more tokens than the model reads.
    #[error(
        "source {index} (counted from 0) has {tokens} tokens, but the model reads {most} at most; \
         shorten it, or allow that sources are cut off"
    )]
    SourceTooLong {
        /// Its place.
        index: usize,
        /// Its tokens, special ones included.
        tokens: usize,
        /// The most tokens.
        most: usize,
    },
    /// Counts that make no distribution of lengths.
    #[error("no distribution of lengths: {problem}")]
    Lengths {
        /// What is wrong with them.
        problem: String,
    },
    /// A length that no text can have.
    #[error("text {index} (counted from 0) can't have length {length}; it must lie in 1..={max}")]
    LengthRange {
        /// Its place.
        index: usize,
        /// Its length.
        length: usize,
        /// The longest one.
        max: usize,
    },
    /// Settings that make no predictor of lengths.
    #[error("no predictor of lengths: `{setting}` {problem}")]
    LengthPredictor {
        /// The setting.
        setting: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A predictor of lengths that answers with something else than numbers.
    #[error(
        "the predicted lengths of text {index} (counted from 0) are not finite numbers; the predictor's \
         weights or the text's source are damaged"
    )]
    LengthLogits {
        /// Its place.
        index: usize,
    },
    /// The device can't be read.
    #[error("the device failed: {0}")]
    Device(String),
    /// The language model that reads sources can't work with them.
    #[error(transparent)]
    LanguageModel(#[from] LanguageModelError),
}

/// A label that the model was not trained with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model has no class `{label}`; it knows {}", quoted(.known))]
#[non_exhaustive]
pub struct UnknownLabel {
    /// The label asked for.
    pub label: String,
    /// All labels that there are, by index.
    pub known: Vec<String>,
}

/// Names that can't serve as class labels.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidLabels {
    /// There are none; an unconditional model has no [`ClassLabels`](crate::ClassLabels).
    #[error("a class-conditional model needs at least one class label")]
    None,
    /// Two classes have one name.
    #[error("the class label `{label}` occurs twice; labels must differ")]
    Repeated {
        /// The name.
        label: String,
    },
}

fn quoted(labels: &[String]) -> String {
    labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ")
}
