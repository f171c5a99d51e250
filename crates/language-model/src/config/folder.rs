//! `config.json` and `generation_config.json` of a model folder.

use std::path::Path;

use burn::tensor::FloatDType;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{InvalidConfig, TokenIds};
use crate::files::{parse_json, read_text, write_json};
use crate::{GenerationConfig, LanguageModelError};

pub(crate) const CONFIG_FILE: &str = "config.json";
pub(crate) const GENERATION_FILE: &str = "generation_config.json";

const START: &str = "decoder_start_token_id";
const BOS: &str = "bos_token_id";
const PAD: &str = "pad_token_id";
/// Tokens without a default in folders. `transformers` takes them from `generation_config.json` even
/// where they are absent there.
const FORCED: [&str; 2] = ["forced_bos_token_id", "forced_eos_token_id"];

pub(crate) type Entries = Map<String, Value>;

/// A configuration that is read from and written to model folders.
pub(crate) trait FolderConfig: Serialize + DeserializeOwned {
    /// The values of `model_type` that it covers, in words.
    const MODEL_TYPES: &'static str;
    /// General names of `transformers` and the entries that they stand for; they go first.
    const ALIASES: &'static [(&'static str, &'static str)];

    /// The defaults of a model type; none for an unknown one.
    fn defaults(model_type: &str) -> Option<Self>;

    /// Whether the decoder of this model type begins with the begin-of-text token by default.
    fn starts_at_bos(&self) -> bool {
        false
    }

    /// Finds what would give wrong numbers if it was ignored, in the entries of a file.
    fn check_entries(_entries: &Entries) -> Result<(), InvalidConfig> {
        Ok(())
    }

    fn check(&self) -> Result<(), InvalidConfig>;

    fn vocab_size(&self) -> usize;

    fn token_ids(&self) -> TokenIds;

    /// How `transformers` calls the network with its output layer.
    fn architecture(&self) -> &'static str;
}

/// What `config.json` says about its architecture, `absent` if nothing.
pub(crate) fn model_type(folder: &Path) -> Result<String, LanguageModelError> {
    let path = folder.join(CONFIG_FILE);
    let entries: Entries = parse_json(&path, &read_config(&path)?)?;
    Ok(model_type_of(&entries).to_string())
}

fn model_type_of(entries: &Entries) -> &str {
    entries.get("model_type").and_then(Value::as_str).unwrap_or("absent")
}

fn read_config(path: &Path) -> Result<String, LanguageModelError> {
    read_text(
        path,
        "a model folder has a config.json; it is written last, so the folder may be half-written",
    )
}

pub(crate) fn read<C: FolderConfig>(folder: &Path) -> Result<C, LanguageModelError> {
    let path = folder.join(CONFIG_FILE);
    let text = read_config(&path)?;
    let mut entries = complete::<C>(&path, parse_json(&path, &text)?)?;

    let generation = folder.join(GENERATION_FILE);
    let mut generation_tokens = TokenIds::default();
    if generation.exists() {
        generation_tokens = parse_json(&generation, &read_text(&generation, "")?)?;
        overlay(&mut entries, &generation_tokens).map_err(|source| broken(&generation, source))?;
    }
    resolve_start(&mut entries).map_err(|source| invalid(&path, source))?;

    let config: C = serde_json::from_value(Value::Object(entries))
        // The text by itself has the same fault, and knows its line.
        .map_err(|source| serde_json::from_str::<C>(&text).err().unwrap_or(source))
        .map_err(|source| broken(&path, source))?;
    generation_tokens.check(config.vocab_size()).map_err(|source| invalid(&generation, source))?;
    config.check().map_err(|source| invalid(&path, source))?;
    Ok(config)
}

/// Lays the entries of the file `path` over the defaults of their model type.
fn complete<C: FolderConfig>(
    path: &Path,
    mut entries: Entries,
) -> Result<Entries, LanguageModelError> {
    let model_type = model_type_of(&entries);
    let Some(defaults) = C::defaults(model_type) else {
        let source = InvalidConfig::new("model_type", model_type, format!("be {}", C::MODEL_TYPES));
        return Err(invalid(path, source));
    };
    C::check_entries(&entries).map_err(|source| invalid(path, source))?;
    for (alias, entry) in C::ALIASES {
        if let Some(value) = entries.remove(*alias).filter(|value| !value.is_null()) {
            entries.insert(entry.to_string(), value);
        }
    }
    let mut all = entries_of(&defaults).map_err(|source| broken(path, source))?;
    force_nothing(&mut all);
    if defaults.starts_at_bos() {
        all.insert(START.to_string(), Value::Null);
    }
    all.extend(entries);
    Ok(all)
}

/// Replaces the tokens of `config.json` by those of `generation_config.json`. A start or an end that is
/// absent there stays; so does the pad, which the other file has for finished texts only.
fn overlay(entries: &mut Entries, tokens: &TokenIds) -> Result<(), serde_json::Error> {
    force_nothing(entries);
    if tokens.bos_token_id.is_some() {
        // Texts begin with the begin-of-text token of the same file if it has no start token.
        entries.insert(START.to_string(), Value::Null);
    }
    entries.extend(entries_of(tokens)?.into_iter().filter(|(entry, _)| entry != PAD));
    Ok(())
}

fn force_nothing(entries: &mut Entries) {
    for forced in FORCED {
        entries.insert(forced.to_string(), Value::Null);
    }
}

fn entries_of(value: &impl Serialize) -> Result<Entries, serde_json::Error> {
    serde_json::from_value(serde_json::to_value(value)?)
}

/// A decoder without a start token of its own begins with the begin-of-text token.
fn resolve_start(entries: &mut Entries) -> Result<(), InvalidConfig> {
    let value = |entry: &str| entries.get(entry).filter(|value| !value.is_null());
    if value(START).is_some() {
        return Ok(());
    }
    let bos = value(BOS).cloned().ok_or_else(|| {
        InvalidConfig::new(START, "absent", format!("be a token id, as there is no `{BOS}`"))
    })?;
    entries.insert(START.to_string(), bos);
    Ok(())
}

fn broken(path: &Path, source: serde_json::Error) -> LanguageModelError {
    LanguageModelError::Json { path: path.to_path_buf(), source }
}

fn invalid(path: &Path, source: InvalidConfig) -> LanguageModelError {
    LanguageModelError::Config { path: path.to_path_buf(), source }
}

/// Writes both files as `transformers` reads them; `dtype` is that of the weights beside them, and
/// `generation` what `generation_config.json` says beside the tokens.
pub(crate) fn write<C: FolderConfig>(
    config: &C,
    folder: &Path,
    dtype: FloatDType,
    generation: &GenerationConfig,
) -> Result<(), LanguageModelError> {
    let path = folder.join(GENERATION_FILE);
    let mut entries = entries_of(&config.token_ids()).map_err(|source| broken(&path, source))?;
    entries.extend(generation.to_entries().map_err(|source| broken(&path, source))?);
    write_json(&path, &entries)?;
    let file = ConfigFile {
        architectures: [config.architecture()],
        is_encoder_decoder: true,
        dtype: dtype_name(dtype),
        config,
    };
    write_json(&folder.join(CONFIG_FILE), &file)
}

#[derive(Serialize)]
struct ConfigFile<'a, C> {
    architectures: [&'static str; 1],
    is_encoder_decoder: bool,
    dtype: &'static str,
    #[serde(flatten)]
    config: &'a C,
}

/// How a `config.json` calls the dtype of the weights beside it.
fn dtype_name(dtype: FloatDType) -> &'static str {
    match dtype {
        FloatDType::F16 => "float16",
        FloatDType::BF16 => "bfloat16",
        _ => "float32",
    }
}
