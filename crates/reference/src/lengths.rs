use latent_text_conditioning::LengthDistribution;
use latent_text_language_model::LanguageModel;

use crate::ReferenceError;

/// Texts that are tokenized together.
const BATCH: usize = 1024;

/// How long the texts are that a model over the encoder's own states is to write. Its checkpoint does
/// not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextLengths {
    /// As those of the training texts, whose tokens are counted.
    OfTexts(Vec<String>),
    /// As counted before.
    Counted(LengthDistribution),
}

impl TextLengths {
    /// The distribution over lengths of `1..=max`, special tokens included; longer texts count as cut.
    pub(crate) fn distribution(
        &self,
        language_model: &LanguageModel,
        max: usize,
    ) -> Result<LengthDistribution, ReferenceError> {
        let texts = match self {
            Self::Counted(lengths) => return Ok(lengths.clone()),
            Self::OfTexts(texts) => texts,
        };
        let mut lengths = Vec::with_capacity(texts.len());
        for batch in texts.chunks(BATCH) {
            let batch: Vec<&str> = batch.iter().map(String::as_str).collect();
            let tokens = language_model.tokenizer.encode_batch(&batch, max)?;
            lengths.extend(tokens.ids.iter().map(Vec::len));
        }
        Ok(LengthDistribution::from_lengths(lengths, max)?)
    }
}
