mod batch;
mod byte_level;
mod charsmap;
mod files;
mod sentence_piece;
mod special;
mod t5;
mod template;
mod train;
mod wire;

use tokenizers::{PostProcessor, Tokenizer, TruncationDirection};

use crate::LanguageModelError;

pub use self::batch::TokenBatch;
pub use self::special::SpecialTokens;

/// Turns texts into token ids and back, as the tokenizers of Hugging Face do.
#[derive(Debug, Clone)]
pub struct TextTokenizer {
    tokenizer: Tokenizer,
    special: SpecialTokens,
    /// Whether decoding takes out the spaces in front of punctuation.
    clean_up_spaces: bool,
}

impl TextTokenizer {
    /// The ids of texts with the special tokens around them, cut off to `max_tokens` ids with these.
    ///
    /// # Errors
    /// If `max_tokens` has no room for the special tokens, or a text has characters that the
    /// vocabulary has neither tokens nor an unknown token for.
    pub fn encode_batch(
        &self,
        texts: &[&str],
        max_tokens: usize,
    ) -> Result<TokenBatch, LanguageModelError> {
        let added = self.tokenizer.get_post_processor().map_or(0, |post| post.added_tokens(false));
        if max_tokens < added {
            return Err(LanguageModelError::Setting {
                setting: "max_tokens",
                problem: format!("{max_tokens} has no room for the {added} special tokens"),
            });
        }
        let encode = || {
            let encodings = self.tokenizer.encode_batch_fast(texts.to_vec(), false)?;
            encodings
                .into_iter()
                .map(|mut encoding| {
                    encoding.truncate(max_tokens - added, 0, TruncationDirection::Right);
                    let encoding = self.tokenizer.post_process(encoding, None, true)?;
                    Ok(encoding.get_ids().to_vec())
                })
                .collect::<tokenizers::Result<Vec<_>>>()
        };
        let ids = encode().map_err(|source| LanguageModelError::Encode { source })?;
        Ok(TokenBatch { ids, pad_id: self.pad_id() })
    }

    /// The text of ids without their special tokens, trimmed at both ends. The spaces in front of
    /// English punctuation and contractions are taken out where `tokenizer_config.json` of a folder
    /// says so by `clean_up_tokenization_spaces`, but never those of a BPE.
    ///
    /// # Errors
    /// If the tokenizer's decoder fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String, LanguageModelError> {
        let text = self
            .tokenizer
            .decode(ids, true)
            .map_err(|source| LanguageModelError::Decode { source })?;
        let text = if self.clean_up_spaces { clean_up_spaces(&text) } else { text };
        Ok(text.trim().to_string())
    }

    /// The `vocab_size` that a model needs: the largest id plus one.
    pub fn vocab_size(&self) -> usize {
        let largest = self.tokenizer.get_vocab(true).into_values().max();
        largest.map_or(0, |id| id as usize + 1)
    }

    /// The id of the token `token`, if the vocabulary has it.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    /// The tokens with a meaning of their own.
    pub fn special_tokens(&self) -> SpecialTokens {
        self.special
    }

    /// The id that fills up short texts.
    pub fn pad_id(&self) -> u32 {
        self.special.pad
    }

    /// The id behind every text.
    pub fn eos_id(&self) -> u32 {
        self.special.eos
    }

    /// The id in front of every text, if the vocabulary has one.
    pub fn bos_id(&self) -> Option<u32> {
        self.special.bos
    }
}

/// What `clean_up_tokenization_spaces` means, in its order.
const CLEAN_UPS: [(&str, &str); 10] = [
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
];

fn clean_up_spaces(text: &str) -> String {
    CLEAN_UPS.iter().fold(text.to_string(), |text, (from, to)| text.replace(from, to))
}
