//! The settings of generation in a Hugging Face folder.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{BeamSearch, Decoding, EarlyStopping, ForcedToken, GenerationConfig, Sampling};
use crate::config::{CONFIG_FILE, GENERATION_FILE};
use crate::files::{parse_json, read_text};
use crate::{InvalidConfig, LanguageModelError};

/// Sampling in `transformers` keeps so many tokens where a file says nothing about it.
const TOP_K: usize = 50;

/// The entries of `generation_config.json`, or of an old `config.json`, that decide how texts are
/// decoded.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Entries {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_length: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_new_tokens: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_length: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_new_tokens: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    do_sample: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_beams: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    length_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    early_stopping: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    typical_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repetition_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    no_repeat_ngram_size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bad_words_ids: Option<Vec<Vec<u32>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_return_sequences: Option<usize>,
}

impl GenerationConfig {
    /// Reads how a model folder's own texts are decoded: from `generation_config.json`, or from
    /// `config.json` if there is none. What a file says nothing about has the defaults of this type,
    /// but sampling keeps the 50 most probable tokens then, as in `transformers`.
    ///
    /// # Errors
    /// If a file is missing or damaged, or asks for what this crate doesn't do.
    pub fn from_folder(folder: &Path) -> Result<Self, LanguageModelError> {
        let own = folder.join(GENERATION_FILE);
        let path = if own.exists() { own } else { folder.join(CONFIG_FILE) };
        let text = read_text(&path, "a model folder has a config.json")?;
        let entries: Entries = parse_json(&path, &text)?;
        entries.into_config().map_err(|source| LanguageModelError::Config { path, source })
    }
}

impl GenerationConfig {
    /// The entries of `generation_config.json` for these settings, except those that are as this type
    /// has them by default. `transformers` knows neither prefixes nor whether scores or recordings are wanted.
    pub(crate) fn to_entries(&self) -> Result<Map<String, Value>, serde_json::Error> {
        let defaults = Self::default();
        let mut entries = Entries {
            max_length: changed(&self.max_length, &defaults.max_length),
            min_length: changed(&self.min_length, &defaults.min_length),
            repetition_penalty: changed(&self.repetition_penalty, &defaults.repetition_penalty),
            no_repeat_ngram_size: changed(
                &self.no_repeat_ngram_size,
                &defaults.no_repeat_ngram_size,
            ),
            bad_words_ids: changed(&self.bad_words, &defaults.bad_words),
            num_return_sequences: changed(&self.returns, &defaults.returns),
            ..Entries::default()
        };
        match self.decoding {
            Decoding::Greedy => {}
            Decoding::Sampling(sampling) => entries.set_sampling(sampling),
            Decoding::Beam(search) => entries.set_beam_search(search),
        }
        let mut entries: Map<String, Value> =
            serde_json::from_value(serde_json::to_value(entries)?)?;
        for (entry, forced) in
            [("forced_bos_token_id", self.forced_bos), ("forced_eos_token_id", self.forced_eos)]
        {
            match forced {
                ForcedToken::OfModel => {}
                ForcedToken::None => drop(entries.insert(entry.to_string(), Value::Null)),
                ForcedToken::Id(id) => drop(entries.insert(entry.to_string(), id.into())),
            }
        }
        Ok(entries)
    }
}

fn changed<T: PartialEq + Clone>(value: &T, default: &T) -> Option<T> {
    (value != default).then(|| value.clone())
}

impl Entries {
    fn set_sampling(&mut self, sampling: Sampling) {
        self.do_sample = Some(true);
        self.temperature = Some(sampling.temperature);
        self.top_k = Some(sampling.top_k.unwrap_or(0));
        self.top_p = Some(sampling.top_p);
        self.typical_p = Some(sampling.typical_p);
    }

    fn set_beam_search(&mut self, search: BeamSearch) {
        self.num_beams = Some(search.beams);
        self.length_penalty = Some(search.length_penalty);
        self.early_stopping = Some(match search.early_stopping {
            EarlyStopping::Heuristic => Value::Bool(false),
            EarlyStopping::First => Value::Bool(true),
            EarlyStopping::Never => Value::String("never".to_string()),
        });
    }

    fn into_config(self) -> Result<GenerationConfig, InvalidConfig> {
        let defaults = GenerationConfig::default();
        let with_start = |new_tokens: usize| new_tokens.saturating_add(1);
        let max_length = self.max_new_tokens.map(with_start).or(self.max_length);
        let min_length = self.min_new_tokens.map(with_start).or(self.min_length);
        Ok(GenerationConfig {
            max_length: max_length.unwrap_or(defaults.max_length),
            min_length: min_length.unwrap_or(defaults.min_length),
            decoding: self.decoding()?,
            repetition_penalty: self.repetition_penalty.unwrap_or(defaults.repetition_penalty),
            no_repeat_ngram_size: self
                .no_repeat_ngram_size
                .unwrap_or(defaults.no_repeat_ngram_size),
            bad_words: self.bad_words_ids.unwrap_or_default(),
            returns: self.num_return_sequences.unwrap_or(defaults.returns),
            ..defaults
        })
    }

    fn decoding(&self) -> Result<Decoding, InvalidConfig> {
        let beams = self.num_beams.unwrap_or(1);
        match (beams, self.do_sample.unwrap_or(false)) {
            (0 | 1, false) => Ok(Decoding::Greedy),
            (0 | 1, true) => Ok(Decoding::Sampling(self.sampling())),
            (_, false) => self.beam_search(beams).map(Decoding::Beam),
            (_, true) => Err(InvalidConfig::new(
                "do_sample",
                true,
                format!("be false beside num_beams = {beams}: a beam search doesn't draw"),
            )),
        }
    }

    fn sampling(&self) -> Sampling {
        let defaults = Sampling::default();
        Sampling {
            temperature: self.temperature.unwrap_or(defaults.temperature),
            top_k: Some(self.top_k.unwrap_or(TOP_K)).filter(|&top_k| top_k > 0),
            top_p: self.top_p.unwrap_or(defaults.top_p),
            typical_p: self.typical_p.unwrap_or(defaults.typical_p),
        }
    }

    fn beam_search(&self, beams: usize) -> Result<BeamSearch, InvalidConfig> {
        let early_stopping = match &self.early_stopping {
            None | Some(Value::Bool(false)) => EarlyStopping::Heuristic,
            Some(Value::Bool(true)) => EarlyStopping::First,
            Some(Value::String(never)) if never == "never" => EarlyStopping::Never,
            Some(other) => {
                return Err(InvalidConfig::new(
                    "early_stopping",
                    other,
                    "be true, false or \"never\"",
                ));
            }
        };
        let length_penalty = self.length_penalty.unwrap_or(1.0);
        Ok(BeamSearch { beams, length_penalty, early_stopping })
    }
}
