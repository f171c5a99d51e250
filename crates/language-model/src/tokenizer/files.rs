use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::{ModelWrapper, Tokenizer};

use super::TextTokenizer;
use super::byte_level::{byte_level_tokenizer, surround};
use super::charsmap;
use super::sentence_piece::{MAX_PIECE, SentencePiece};
use super::special::SpecialNames;
use super::t5::{T5Settings, end_texts, t5_tokenizer, treat_texts_as_t5};
use super::template;
use crate::LanguageModelError;
use crate::files::{create_folder, parse_json, read_text, write_json, write_text};

const TOKENIZER_FILE: &str = "tokenizer.json";
const VOCABULARY_FILE: &str = "vocab.json";
const MERGES_FILE: &str = "merges.txt";
const SETTINGS_FILE: &str = "tokenizer_config.json";
const SPECIAL_FILE: &str = "special_tokens_map.json";
const SENTENCE_PIECE_FILE: &str = "spiece.model";
const CONFIG_FILE: &str = "config.json";
const ADVICE: &str =
    "a tokenizer is a tokenizer.json, a vocab.json with its merges.txt, or a spiece.model";

impl TextTokenizer {
    /// Loads the tokenizer of a model folder: `tokenizer.json`, else `vocab.json` with `merges.txt`
    /// for a byte-level BPE as BART's, else `spiece.model` for a SentencePiece unigram model as T5's.
    /// The special tokens are named by `tokenizer_config.json`, else by `special_tokens_map.json`,
    /// else they are BART's or T5's.
    ///
    /// Where the tokenizer's class, else the `model_type` in `config.json`, is T5's or mT5's, texts
    /// are split as `transformers` does since its version 5, which goes by the vocabulary and the
    /// normaliser's table of `tokenizer.json` alone. A `spiece.model` gets the tokens
    /// `<extra_id_0>` to `<extra_id_99>`, or as many as `extra_ids` in `tokenizer_config.json`.
    ///
    /// # Errors
    /// If a file is missing or damaged, the SentencePiece model is not a unigram model, or the
    /// vocabulary lacks the pad or end token.
    pub fn from_folder(folder: &Path) -> Result<Self, LanguageModelError> {
        let behaviour: Behaviour = optional_json(&folder.join(SETTINGS_FILE))?;
        let names = optional_json::<SpecialNames>(&folder.join(SETTINGS_FILE))?
            .or(optional_json(&folder.join(SPECIAL_FILE))?);
        let whole = folder.join(TOKENIZER_FILE);
        let sentence_piece = folder.join(SENTENCE_PIECE_FILE);
        let mut loaded = if whole.exists() {
            let model: ModelKind = optional_json(&folder.join(CONFIG_FILE))?;
            if behaviour.is_t5(model.model_type.as_deref()) {
                Self::from_tokenizer_file_of_t5(&whole, &names.or(SpecialNames::usual_of_t5()))?
            } else {
                Self::from_tokenizer_file(&whole, &names.or(SpecialNames::usual()))?
            }
        } else if folder.join(VOCABULARY_FILE).exists() {
            Self::from_vocabulary(folder, &names.or(SpecialNames::usual()))?
        } else if sentence_piece.exists() {
            let names = names.or(SpecialNames::usual_of_t5());
            let settings: T5Settings = optional_json(&folder.join(SETTINGS_FILE))?;
            Self::from_sentence_piece(&sentence_piece, &settings, &names)?
        } else {
            return Err(LanguageModelError::Missing { path: whole, advice: ADVICE });
        };
        let is_bpe = matches!(loaded.tokenizer.get_model(), ModelWrapper::BPE(_));
        loaded.clean_up_spaces = !is_bpe && behaviour.clean_up_tokenization_spaces == Some(true);
        Ok(loaded)
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
        let settings = Settings::new(names, model_max_length, self.clean_up_spaces);
        write_json(&folder.join(SETTINGS_FILE), &settings)
    }

    fn from_tokenizer_file(path: &Path, names: &SpecialNames) -> Result<Self, LanguageModelError> {
        let (tokenizer, _) = read_tokenizer_file(path)?;
        Self::with_names(tokenizer, names, path)
    }

    fn from_tokenizer_file_of_t5(
        path: &Path,
        names: &SpecialNames,
    ) -> Result<Self, LanguageModelError> {
        let (mut tokenizer, charsmap) = read_tokenizer_file(path)?;
        treat_texts_as_t5(&mut tokenizer, charsmap.as_deref()).map_err(unusable(path))?;
        Self::ending_texts(tokenizer, names, path)
    }

    fn from_sentence_piece(
        path: &Path,
        settings: &T5Settings,
        names: &SpecialNames,
    ) -> Result<Self, LanguageModelError> {
        let bytes = fs::read(path).map_err(|source| LanguageModelError::File {
            action: "read",
            path: path.to_path_buf(),
            source,
        })?;
        let model = SentencePiece::read(&bytes).map_err(|source| unusable(path)(source.into()))?;
        let tokenizer = t5_tokenizer(&model, settings).map_err(unusable(path))?;
        Self::ending_texts(tokenizer, names, path)
    }

    fn ending_texts(
        tokenizer: Tokenizer,
        names: &SpecialNames,
        path: &Path,
    ) -> Result<Self, LanguageModelError> {
        let mut loaded = Self::with_names(tokenizer, names, path)?;
        let eos = names.eos_in(loaded.special);
        end_texts(&mut loaded.tokenizer, eos).map_err(unusable(path))?;
        Ok(loaded)
    }

    fn with_names(
        mut tokenizer: Tokenizer,
        names: &SpecialNames,
        path: &Path,
    ) -> Result<Self, LanguageModelError> {
        let special = names.find_in(&mut tokenizer, path)?;
        Ok(Self { tokenizer, special, clean_up_spaces: false })
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
        Ok(Self { tokenizer, special, clean_up_spaces: false })
    }
}

/// A `tokenizer.json` without the limits of whoever saved it, as ours come with every call; and its
/// table of replacements. What the `tokenizers` crate takes on trust is checked first.
fn read_tokenizer_file(path: &Path) -> Result<(Tokenizer, Option<Vec<u8>>), LanguageModelError> {
    let text = read_text(path, ADVICE)?;
    let json: Value = parse_json(path, &text)?;
    if let Some(model) = json.get("model") {
        check_model(model, path)?;
    }
    let charsmap = json.get("normalizer").map_or(Ok(None), charsmap::checked_in);
    let charsmap = charsmap.map_err(|source| unusable(path)(source.into()))?;
    let templates = json.get("post_processor").map_or(Ok(()), template::check);
    templates.map_err(|source| unusable(path)(source.into()))?;
    let mut tokenizer = Tokenizer::from_bytes(&text).map_err(unusable(path))?;
    tokenizer.with_truncation(None).map_err(unusable(path))?.with_padding(None);
    Ok((tokenizer, charsmap))
}

fn check_model(model: &Value, path: &Path) -> Result<(), LanguageModelError> {
    if model.get("merges").is_some() {
        let pieces = BpePieces::deserialize(model)
            .map_err(|source| LanguageModelError::Json { path: path.to_path_buf(), source })?;
        return pieces.check().map_err(unusable(path));
    }
    let pieces = model.get("vocab").and_then(Value::as_array).into_iter().flatten();
    for (place, piece) in pieces.enumerate() {
        let text = piece.get(0).and_then(Value::as_str);
        if text.is_some_and(|text| text.len() > MAX_PIECE) {
            return Err(unusable(path)(format!("piece {place} is too long").into()));
        }
    }
    Ok(())
}

pub(super) type BoxedError = Box<dyn Error + Send + Sync>;

fn unusable(path: &Path) -> impl Fn(BoxedError) -> LanguageModelError {
    let path = PathBuf::from(path);
    move |source| LanguageModelError::Tokenizer { path: path.clone(), source }
}

/// The entries of a file that need not exist.
fn optional_json<T: DeserializeOwned + Default>(path: &Path) -> Result<T, LanguageModelError> {
    if path.exists() { parse_json(path, &read_text(path, ADVICE)?) } else { Ok(T::default()) }
}

/// What of `tokenizer_config.json` tells how to treat texts.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Behaviour {
    tokenizer_class: Option<String>,
    clean_up_tokenization_spaces: Option<bool>,
}

impl Behaviour {
    /// Whether the tokenizer's class is T5's, or that of `model_type` is where no class is named.
    fn is_t5(&self, model_type: Option<&str>) -> bool {
        match &self.tokenizer_class {
            Some(class) => {
                let family = class.strip_suffix("Fast").unwrap_or(class);
                matches!(family, "T5Tokenizer" | "MT5Tokenizer")
            }
            None => matches!(model_type, Some("t5" | "mt5")),
        }
    }
}

/// What of `config.json` tells whose tokenizer it is.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ModelKind {
    model_type: Option<String>,
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
    fn new(
        names: SpecialNames,
        model_max_length: usize,
        clean_up_tokenization_spaces: bool,
    ) -> Self {
        Self {
            tokenizer_class: "PreTrainedTokenizerFast",
            model_max_length,
            model_input_names: ["input_ids", "attention_mask"],
            clean_up_tokenization_spaces,
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
