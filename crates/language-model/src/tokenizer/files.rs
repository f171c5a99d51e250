use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokenizers::Tokenizer;
use tokenizers::models::bpe::{BPE, Vocab};

use super::TextTokenizer;
use super::byte_level::{byte_level_tokenizer, surround};
use super::special::SpecialNames;
use crate::LanguageModelError;
use crate::files::{create_folder, parse_json, read_text, write_json, write_text};

const TOKENIZER_FILE: &str = "tokenizer.json";
const VOCABULARY_FILE: &str = "vocab.json";
const MERGES_FILE: &str = "merges.txt";
const SETTINGS_FILE: &str = "tokenizer_config.json";
const SPECIAL_FILE: &str = "special_tokens_map.json";
const ADVICE: &str = "a tokenizer is a tokenizer.json, or a vocab.json with its merges.txt";

impl TextTokenizer {
    /// Loads the tokenizer of a model folder: `tokenizer.json`, or `vocab.json` with `merges.txt` for
    /// a byte-level BPE as BART's. The special tokens are named by `tokenizer_config.json`, else by
    /// `special_tokens_map.json`, else they are BART's.
    ///
    /// # Errors
    /// If a file is missing or damaged, or the vocabulary lacks the pad or end token.
    pub fn from_folder(folder: &Path) -> Result<Self, LanguageModelError> {
        let names = names_in(&folder.join(SETTINGS_FILE))?
            .or(names_in(&folder.join(SPECIAL_FILE))?)
            .or(SpecialNames::usual());
        let whole = folder.join(TOKENIZER_FILE);
        if !whole.exists() && folder.join(VOCABULARY_FILE).exists() {
            return Self::from_vocabulary(folder, &names);
        }
        Self::from_tokenizer_file(&whole, &names)
    }

    /// Loads a `tokenizer.json` whose special tokens are named as BART's.
    ///
    /// # Errors
    /// As [`from_folder`](Self::from_folder).
    pub fn from_file(path: &Path) -> Result<Self, LanguageModelError> {
        Self::from_tokenizer_file(path, &SpecialNames::usual())
    }

    /// Writes `tokenizer.json`, `tokenizer_config.json` and `special_tokens_map.json`, which
    /// `transformers` reads too; `model_max_length` is the longest text in tokens that the model
    /// takes.
    ///
    /// # Errors
    /// If a file can't be written.
    pub fn save_to_folder(
        &self,
        folder: &Path,
        model_max_length: usize,
    ) -> Result<(), LanguageModelError> {
        create_folder(folder)?;
        let path = folder.join(TOKENIZER_FILE);
        let text = self.tokenizer.to_string(true).map_err(unusable(&path))?;
        write_text(&path, &text)?;
        let names = SpecialNames::of(self.special, &self.tokenizer);
        write_json(&folder.join(SPECIAL_FILE), &names)?;
        write_json(&folder.join(SETTINGS_FILE), &Settings::new(names, model_max_length))
    }

    fn from_tokenizer_file(path: &Path, names: &SpecialNames) -> Result<Self, LanguageModelError> {
        let text = read_text(path, ADVICE)?;
        let json: Value = parse_json(path, &text)?;
        if let Some(model) = json.get("model").filter(|model| model.get("merges").is_some()) {
            let pieces = BpePieces::deserialize(model)
                .map_err(|source| LanguageModelError::Json { path: path.to_path_buf(), source })?;
            pieces.check().map_err(unusable(path))?;
        }
        let mut tokenizer = Tokenizer::from_bytes(&text).map_err(unusable(path))?;
        // A file may carry the limits of whoever saved it; ours come with every call.
        tokenizer.with_truncation(None).map_err(unusable(path))?.with_padding(None);
        let special = names.find_in(&mut tokenizer, path)?;
        Ok(Self { tokenizer, special })
    }

    fn from_vocabulary(folder: &Path, names: &SpecialNames) -> Result<Self, LanguageModelError> {
        let path = folder.join(VOCABULARY_FILE);
        let merges_path = folder.join(MERGES_FILE);
        let vocab: BTreeMap<String, u32> = parse_json(&path, &read_text(&path, ADVICE)?)?;
        let merges = read_text(&merges_path, ADVICE)?
            .lines()
            .filter(|line| !line.starts_with("#version") && !line.is_empty())
            .map(|line| Merge::Line(line.to_string()))
            .collect();
        let pieces = BpePieces { vocab, merges, continuing_subword_prefix: None };
        pieces.check().map_err(unusable(&merges_path))?;
        let mut tokenizer =
            byte_level_tokenizer(pieces.into_model().map_err(unusable(&merges_path))?);
        let special = names.find_in(&mut tokenizer, &path)?;
        surround(&mut tokenizer, names.bos_in(special, &path)?, names.eos_in(special));
        Ok(Self { tokenizer, special })
    }
}

type BoxedError = Box<dyn Error + Send + Sync>;

fn unusable(path: &Path) -> impl Fn(BoxedError) -> LanguageModelError {
    let path = PathBuf::from(path);
    move |source| LanguageModelError::Tokenizer { path: path.clone(), source }
}

fn names_in(path: &Path) -> Result<SpecialNames, LanguageModelError> {
    if path.exists() {
        parse_json(path, &read_text(path, ADVICE)?)
    } else {
        Ok(SpecialNames::default())
    }
}

/// `tokenizer_config.json`.
#[derive(Serialize)]
struct Settings {
    tokenizer_class: &'static str,
    model_max_length: usize,
    model_input_names: [&'static str; 2],
    clean_up_tokenization_spaces: bool,
    #[serde(flatten)]
    names: SpecialNames,
}

impl Settings {
    fn new(names: SpecialNames, model_max_length: usize) -> Self {
        Self {
            tokenizer_class: "PreTrainedTokenizerFast",
            model_max_length,
            model_input_names: ["input_ids", "attention_mask"],
            clean_up_tokenization_spaces: false,
            names,
        }
    }
}

/// A BPE's vocabulary and merges. Building one whose merges do not fit its vocabulary can panic in
/// the `tokenizers` crate, so they are checked first.
#[derive(Deserialize)]
struct BpePieces {
    vocab: BTreeMap<String, u32>,
    merges: Vec<Merge>,
    continuing_subword_prefix: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Line(String),
    Pair(String, String),
}

impl Merge {
    fn parts(&self) -> Option<(&str, &str)> {
        match self {
            Self::Line(line) => line.split_once(' '),
            Self::Pair(first, second) => Some((first, second)),
        }
    }
}

impl BpePieces {
    fn check(&self) -> Result<(), BoxedError> {
        let prefix = self.continuing_subword_prefix.as_deref().unwrap_or("");
        for (index, merge) in self.merges.iter().enumerate() {
            let fits = merge.parts().is_some_and(|(first, second)| {
                second.strip_prefix(prefix).is_some_and(|rest| {
                    [first, second, &format!("{first}{rest}")]
                        .iter()
                        .all(|token| self.vocab.contains_key(*token))
                })
            });
            if !fits {
                return Err(format!("merge {} does not fit the vocabulary", index + 1).into());
            }
        }
        Ok(())
    }

    fn into_model(self) -> Result<BPE, BoxedError> {
        let merges = self
            .merges
            .iter()
            .filter_map(Merge::parts)
            .map(|(first, second)| (first.to_string(), second.to_string()))
            .collect();
        let vocab = self.vocab.into_iter().collect::<Vocab>();
        BPE::builder().vocab_and_merges(vocab, merges).build()
    }
}
