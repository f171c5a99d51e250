use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a data set could not be read. Lines count from 1, in the unpacked file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// A setting is out of its range.
    #[error("data set {path}: `{setting}` is {value}, but must be at least {least}")]
    InvalidSetting {
        /// The data file.
        path: PathBuf,
        /// Name of the setting.
        setting: &'static str,
        /// What it was set to.
        value: usize,
        /// The least value allowed.
        least: usize,
    },
    /// A label column was asked for in a format without columns.
    #[error(
        "data set {path}: a .txt file has no columns; remove `label_column` or use .csv or .jsonl"
    )]
    LabelsInPlainText {
        /// The data file.
        path: PathBuf,
    },
    /// A source column was asked for in a format without columns.
    #[error(
        "data set {path}: a .txt file has no columns; remove `source_column` or use .csv or .jsonl"
    )]
    SourcesInPlainText {
        /// The data file.
        path: PathBuf,
    },
    /// The format can't be told from the file's name.
    #[error(
        "data set {path}: unknown kind of file; the name must end in .txt, .csv or .jsonl, with or \
         without .gz"
    )]
    UnknownExtension {
        /// The data file.
        path: PathBuf,
    },
    /// The file is missing or can't be opened.
    #[error("data set {path}: cannot open the file; check `path`")]
    Open {
        /// The data file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Reading or unpacking failed.
    #[error("data set {path}, line {line}: cannot read on")]
    Read {
        /// The data file.
        path: PathBuf,
        /// The line that could not be read.
        line: u64,
        /// What went wrong.
        source: io::Error,
    },
    /// The gzip data stop short.
    #[error("data set {path}, line {line}: the gzip data end too early; the file is cut off")]
    TruncatedGzip {
        /// The data file.
        path: PathBuf,
        /// The line that is cut off.
        line: u64,
    },
    /// Bytes that are not UTF-8.
    #[error("data set {path}, line {line}: not UTF-8; convert the file to UTF-8")]
    NotUtf8 {
        /// The data file.
        path: PathBuf,
        /// The line of the record.
        line: u64,
    },
    /// A line of a JSONL file is not a JSON object.
    #[error("data set {path}, line {line}: not a JSON object")]
    MalformedJson {
        /// The data file.
        path: PathBuf,
        /// The line of the record.
        line: u64,
        /// What the parser said; it counts from the start of that line.
        source: serde_json::Error,
    },
    /// A row of a CSV file has more or fewer fields than the header.
    #[error("data set {path}, line {line}: {found} fields, but the header has {expected}")]
    UnequalFields {
        /// The data file.
        path: PathBuf,
        /// The line where the row starts.
        line: u64,
        /// Fields of the header.
        expected: u64,
        /// Fields of this row.
        found: u64,
    },
    /// The CSV quotes do not pair up.
    #[error(
        "data set {path}, line {line}: a quote is never closed; a field with quotes in it must be \
         quoted, and the quotes inside doubled"
    )]
    UnclosedQuote {
        /// The data file.
        path: PathBuf,
        /// The line where the last row starts.
        line: u64,
    },
    /// A column that was asked for is not there.
    #[error(
        "data set {path}, line {line}: no column `{column}`; those present: {}",
        .present.join(", ")
    )]
    MissingColumn {
        /// The data file.
        path: PathBuf,
        /// The line of the record, or of the header.
        line: u64,
        /// The column asked for.
        column: String,
        /// The columns that are there.
        present: Vec<String>,
    },
    /// A JSON value of another type than needed.
    #[error("data set {path}, line {line}: `{column}` is {found}, but must be {expected}")]
    WrongType {
        /// The data file.
        path: PathBuf,
        /// The line of the record.
        line: u64,
        /// The field.
        column: String,
        /// The type needed.
        expected: &'static str,
        /// The type found.
        found: &'static str,
    },
    /// A text, label or source that is empty or only white space.
    #[error("data set {path}, line {line}: `{column}` is empty; remove the record or fill it in")]
    Empty {
        /// The data file.
        path: PathBuf,
        /// The line where the record starts.
        line: u64,
        /// The column or field.
        column: String,
    },
    /// The file holds no more records than are skipped.
    #[error(
        "data set {path}: `skip` is {skip}, but the file has only {records} records; skip fewer"
    )]
    AllSkipped {
        /// The data file.
        path: PathBuf,
        /// How many records to skip.
        skip: usize,
        /// How many there are.
        records: usize,
    },
    /// The records, repeated as asked for, are too many.
    #[error(
        "data set {path}: `repeat` is {repeat}, but {records} records so many times are more than {most}; \
         repeat them less"
    )]
    TooManyRecords {
        /// The data file.
        path: PathBuf,
        /// How many times the records were to be given.
        repeat: usize,
        /// How many there are.
        records: usize,
        /// The most that may come of them.
        most: usize,
    },
    /// The file holds no text at all.
    #[error("data set {path}: the file has no texts")]
    NoTexts {
        /// The data file.
        path: PathBuf,
    },
}
