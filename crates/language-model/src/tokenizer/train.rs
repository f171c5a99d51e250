use tokenizers::AddedToken;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::byte_level::{byte_level_tokenizer, surround};
use super::{SpecialTokens, TextTokenizer};
use crate::LanguageModelError;

/// BART's special tokens in the order of their ids.
const SPECIAL: [&str; 5] = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"];
const MASK: &str = SPECIAL[4];
const BYTES: usize = 256;
const MIN_FREQUENCY: u64 = 2;

impl TextTokenizer {
    /// Trains a byte-level BPE of at most `vocab_size` tokens: the special tokens `<s>`, `<pad>`,
    /// `</s>`, `<unk>` and `<mask>` with ids 0 to 4, the 256 bytes, and the merges of pairs that occur
    /// at least twice. The same texts in any order give the same tokenizer.
    ///
    /// # Errors
    /// If `vocab_size` is below 261, or the texts can't be read.
    pub fn train_byte_level_bpe<I, S>(
        texts: I,
        vocab_size: usize,
    ) -> Result<Self, LanguageModelError>
    where
        I: IntoIterator<Item = S>,
        I::IntoIter: Send,
        S: AsRef<str> + Send,
    {
        let smallest = SPECIAL.len() + BYTES;
        if vocab_size < smallest {
            return Err(LanguageModelError::Setting {
                setting: "vocab_size",
                problem: format!("{vocab_size} must be at least {smallest}"),
            });
        }
        let trainer = BpeTrainer::builder()
            .vocab_size(vocab_size)
            .min_frequency(MIN_FREQUENCY)
            .show_progress(false)
            .special_tokens(SPECIAL.map(special_token).to_vec())
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        let mut tokenizer = byte_level_tokenizer(BPE::default());
        tokenizer
            .train(&mut TrainerWrapper::BpeTrainer(trainer), texts.into_iter())
            .map_err(|source| LanguageModelError::Training { source })?;
        let special = SpecialTokens { bos: Some(0), pad: 1, eos: 2, unk: Some(3), mask: Some(4) };
        surround(&mut tokenizer, (SPECIAL[0].to_string(), 0), (SPECIAL[2].to_string(), 2));
        Ok(Self { tokenizer, special, clean_up_spaces: false })
    }
}

/// The mask stands for the space in front of it too, as in the published BARTs.
fn special_token(token: &str) -> AddedToken {
    AddedToken::from(token, true).lstrip(token == MASK)
}
