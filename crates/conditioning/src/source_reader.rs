use burn::module::Module;
use burn::tensor::{Bool, Device, Int, Tensor};
use latent_text_language_model::{LanguageModel, TokenBatch};

use crate::ConditioningError;

/// A frozen encoder with its tokenizer: makes of source texts what a denoiser attends to.
///
/// Its language model must be on a device without autodiff; a copy of one shares the weights.
#[derive(Debug, Clone)]
pub struct SourceReader {
    language_model: LanguageModel,
    max_tokens: usize,
}

impl SourceReader {
    /// A reader of up to `max_tokens` tokens of a source, special tokens included.
    ///
    /// # Errors
    /// [`ConditioningError::MaxTokens`] if the language model has fewer positions, or if special tokens
    /// leave no room for any other.
    pub fn new(
        language_model: LanguageModel,
        max_tokens: usize,
    ) -> Result<Self, ConditioningError> {
        let refuse = |problem| Err(ConditioningError::MaxTokens { max_tokens, problem });
        if let Some(most) = language_model.config.max_positions().filter(|&most| max_tokens > most)
        {
            return refuse(format!("the encoder has only {most} positions"));
        }
        let special = language_model.tokenizer.encode_batch(&[""], usize::MAX)?.longest();
        if max_tokens <= special {
            return refuse(format!("it must exceed {special}, the number of special tokens"));
        }
        Ok(Self { language_model, max_tokens })
    }

    /// Width of the states.
    pub fn dim(&self) -> usize {
        self.language_model.config.d_model()
    }

    /// The most tokens of a source.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// What sources are read with.
    pub fn language_model(&self) -> &LanguageModel {
        &self.language_model
    }

    /// The states of sources and where they are real, `[batch, tokens, dim]` and `[batch, tokens]`, as
    /// long as the longest source. Sources beyond [`max_tokens`](Self::max_tokens) are cut off, as in
    /// training; [`check_lengths`](Self::check_lengths) finds them.
    ///
    /// # Errors
    /// Those of [`tokenize`](Self::tokenize).
    pub fn read(&self, texts: &[&str]) -> Result<(Tensor<3>, Tensor<2, Bool>), ConditioningError> {
        let tokens = self.tokenize(texts)?;
        let (ids, mask) = tokens.tensors(tokens.longest(), &self.device());
        Ok((self.encode(ids, mask.clone()), mask))
    }

    /// The token ids of sources, cut off behind [`max_tokens`](Self::max_tokens).
    ///
    /// # Errors
    /// [`ConditioningError::NoSources`] without texts, [`ConditioningError::EmptySource`] for one that
    /// has no token at all, [`ConditioningError::LanguageModel`] if a text can't be tokenized.
    pub fn tokenize(&self, texts: &[&str]) -> Result<TokenBatch, ConditioningError> {
        if texts.is_empty() {
            return Err(ConditioningError::NoSources);
        }
        let tokens = self.language_model.tokenizer.encode_batch(texts, self.max_tokens)?;
        match tokens.ids.iter().position(Vec::is_empty) {
            Some(index) => Err(ConditioningError::EmptySource { index }),
            None => Ok(tokens),
        }
    }

    /// The states `[batch, tokens, dim]` of token ids `[batch, tokens]`, which are real where `mask`,
    /// `[batch, tokens]`, says so.
    ///
    /// # Panics
    /// If there are more tokens than the encoder has positions.
    pub fn encode(&self, ids: Tensor<2, Int>, mask: Tensor<2, Bool>) -> Tensor<3> {
        self.language_model.model.encode(ids, Some(mask))
    }

    /// Checks that no source would be cut off.
    ///
    /// # Errors
    /// [`ConditioningError::SourceTooLong`] for the first that is longer than
    /// [`max_tokens`](Self::max_tokens), [`ConditioningError::LanguageModel`] if one can't be
    /// tokenized.
    pub fn check_lengths(&self, texts: &[&str]) -> Result<(), ConditioningError> {
        let whole = self.language_model.tokenizer.encode_batch(texts, usize::MAX)?;
        let most = self.max_tokens;
        match whole.ids.iter().enumerate().find(|(_, ids)| ids.len() > most) {
            Some((index, ids)) => {
                Err(ConditioningError::SourceTooLong { index, tokens: ids.len(), most })
            }
            None => Ok(()),
        }
    }

    /// The device of the encoder.
    pub fn device(&self) -> Device {
        self.language_model.model.devices().remove(0)
    }
}
