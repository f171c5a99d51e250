//! Reading of text data sets: plain text, CSV and JSONL, each also gzip-packed.

mod csv;
mod error;
mod jsonl;
mod plain;
mod source;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use error::DataError;
use source::Source;

/// Which texts to read from which file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetConfig {
    /// The file; a relative path starts at the folder given to [`read_texts`]. Its name ends in
    /// `.txt`, `.csv` or `.jsonl`, with or without `.gz`. Required.
    pub path: PathBuf,
    /// Column of a CSV file, or field of a JSONL object, that holds the text. Default `"text"`;
    /// not used for `.txt`.
    #[serde(default = "default_text_column")]
    pub text_column: String,
    /// Column or field that holds the class label. Default none: records without labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_column: Option<String>,
    /// Column or field that holds the source text, which the text is written for. Default none:
    /// records without sources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_column: Option<String>,
    /// How many records at the start of the file to leave out. Default 0. Two entries of one file, one
    /// with a `limit` and one that skips as many, share its records out between them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skip: usize,
    /// How many records to take at most, from the first that is not skipped; at least 1. Default none:
    /// all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// How many times the records are given, one whole pass after the other; at least 1. It weighs
    /// a small data set against larger ones in a mixture. Together they may be no more than
    /// [`MOST_REPEATED`] records. Default 1.
    #[serde(default = "default_repeat")]
    pub repeat: usize,
}

/// How many records a data set may have after its repetition, if it is repeated; all of them are held in
/// memory.
pub const MOST_REPEATED: usize = 1 << 25;

impl DatasetConfig {
    /// All texts of the file at `path`, without labels and sources, once.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            text_column: default_text_column(),
            label_column: None,
            source_column: None,
            skip: 0,
            limit: None,
            repeat: default_repeat(),
        }
    }
}

fn default_text_column() -> String {
    "text".into()
}

fn default_repeat() -> usize {
    1
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// One text of a data set.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Record {
    /// The text on one line: no white space at the ends, and every run of white space (line ends
    /// and non-breaking spaces included) is one space. Never empty.
    pub text: String,
    /// The class label, where a label column was asked for; white space as in `text`.
    pub label: Option<String>,
    /// The source text, where a source column was asked for; white space as in `text`.
    pub source: Option<String>,
}

/// Reads the records of a data set in the order of its file.
///
/// * `.txt`: one text a line; blank lines are skipped.
/// * `.csv`: a header row, then one record a row; fields may be quoted and then hold commas, line
///   ends and doubled quotes.
/// * `.jsonl`: one JSON object a line; blank lines are skipped. Texts and sources are strings, the
///   label a string or an integer.
///
/// All are UTF-8, with or without a byte order mark, with line ends LF or CRLF. A `.gz` file may
/// have several members.
///
/// # Errors
///
/// Where the settings make no sense, the file can't be read or unpacked, is malformed, lacks a
/// column, has no texts or none behind those that are skipped. Records that are skipped must be whole
/// too, or they could not be counted; those behind the limit are not looked at. A record whose text,
/// label or source is empty is an error too, since dropping it would shift the records against any file
/// that runs beside this one. Errors in a record name the file and the line (of an unpacked `.gz`) where
/// the record starts.
pub fn read_texts(config: &DatasetConfig, base_dir: &Path) -> Result<Vec<Record>, DataError> {
    let path = base_dir.join(&config.path);
    check_settings(config, &path)?;
    let format = Format::of(&path)?;
    let source = Source::open(&path)?;
    let records = match format {
        Format::Plain => take(plain::records(source), config),
        Format::Csv => take(csv::records(source, config)?, config),
        Format::Jsonl => take(jsonl::records(source, config), config),
    }?;
    if records.is_empty() {
        return Err(DataError::NoTexts { path });
    }
    if records.len() <= config.skip {
        let (skip, records) = (config.skip, records.len());
        return Err(DataError::AllSkipped { path, skip, records });
    }
    let records = &records[config.skip..];
    let length = repeated_length(records.len(), config, &path)?;
    Ok(records.iter().cycle().take(length).cloned().collect())
}

fn repeated_length(
    records: usize,
    config: &DatasetConfig,
    path: &Path,
) -> Result<usize, DataError> {
    let repeat = config.repeat;
    let length = records.checked_mul(repeat);
    length.filter(|&length| repeat == 1 || length <= MOST_REPEATED).ok_or_else(|| {
        DataError::TooManyRecords { path: path.to_path_buf(), repeat, records, most: MOST_REPEATED }
    })
}

fn check_settings(config: &DatasetConfig, path: &Path) -> Result<(), DataError> {
    let invalid = |setting, value| {
        Err(DataError::InvalidSetting { path: path.to_path_buf(), setting, value, least: 1 })
    };
    match config {
        DatasetConfig { limit: Some(0), .. } => invalid("limit", 0),
        DatasetConfig { repeat: 0, .. } => invalid("repeat", 0),
        DatasetConfig { label_column: Some(_), .. } if Format::of(path)? == Format::Plain => {
            Err(DataError::LabelsInPlainText { path: path.to_path_buf() })
        }
        DatasetConfig { source_column: Some(_), .. } if Format::of(path)? == Format::Plain => {
            Err(DataError::SourcesInPlainText { path: path.to_path_buf() })
        }
        _ => Ok(()),
    }
}

/// The records up to the limit, with those that are to be skipped.
fn take(
    records: impl Iterator<Item = Result<Record, DataError>>,
    config: &DatasetConfig,
) -> Result<Vec<Record>, DataError> {
    let limit = config.limit.unwrap_or(usize::MAX);
    records.take(config.skip.saturating_add(limit)).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Plain,
    Csv,
    Jsonl,
}

impl Format {
    fn of(path: &Path) -> Result<Self, DataError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let unpacked = name.strip_suffix(source::GZIP_SUFFIX).unwrap_or(&name);
        match unpacked.rsplit_once('.').map(|(_, extension)| extension) {
            Some("txt") => Ok(Self::Plain),
            Some("csv") => Ok(Self::Csv),
            Some("jsonl") => Ok(Self::Jsonl),
            _ => Err(DataError::UnknownExtension { path: path.to_path_buf() }),
        }
    }
}

/// White space collapsed; `None` if nothing else is there.
fn one_line(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    (!words.is_empty()).then(|| words.join(" "))
}
