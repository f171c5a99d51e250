use std::cell::Cell;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use csv::{ErrorKind, Reader, StringRecord};

use super::source::{Source, read_error};
use super::{DataError, DatasetConfig, Record, one_line};

/// A header row, then one record a row.
pub(super) fn records(
    source: Source,
    config: &DatasetConfig,
) -> Result<impl Iterator<Item = Result<Record, DataError>>, DataError> {
    let quotes = Rc::new(Cell::new(0));
    let counted = CountQuotes { reader: source.reader, quotes: Rc::clone(&quotes) };
    let mut reader = Reader::from_reader(counted);
    let headers = reader.headers().map_err(|error| csv_error(&source.path, 1, error))?.clone();
    let columns = Columns::find(source.path, &headers, config)?;
    let mut row_line = 1;
    let mut at_end = false;
    Ok(std::iter::from_fn(move || {
        if at_end {
            return None;
        }
        let mut row = StringRecord::new();
        let next_line = reader.position().line();
        match reader.read_record(&mut row) {
            Ok(true) => {
                row_line = row.position().map_or(next_line, csv::Position::line);
                Some(columns.record(row_line, &row))
            }
            Ok(false) => {
                at_end = true;
                let path = columns.path.clone();
                let unclosed = quotes.get() % 2 == 1;
                unclosed.then_some(Err(DataError::UnclosedQuote { path, line: row_line }))
            }
            Err(error) => {
                at_end = true;
                Some(Err(csv_error(&columns.path, next_line, error)))
            }
        }
    }))
}

struct Columns {
    path: PathBuf,
    text: (usize, String),
    label: Option<(usize, String)>,
    source: Option<(usize, String)>,
}

impl Columns {
    fn find(
        path: PathBuf,
        headers: &StringRecord,
        config: &DatasetConfig,
    ) -> Result<Self, DataError> {
        if headers.is_empty() {
            return Err(DataError::NoTexts { path });
        }
        let index_of = |column: &String| match headers.iter().position(|name| name.trim() == column)
        {
            Some(index) => Ok((index, column.clone())),
            None => Err(DataError::MissingColumn {
                path: path.clone(),
                line: 1,
                column: column.clone(),
                present: headers.iter().map(|name| name.trim().to_owned()).collect(),
            }),
        };
        let text = index_of(&config.text_column)?;
        let label = config.label_column.as_ref().map(index_of).transpose()?;
        let source = config.source_column.as_ref().map(index_of).transpose()?;
        Ok(Self { path, text, label, source })
    }

    fn record(&self, line: u64, row: &StringRecord) -> Result<Record, DataError> {
        let field = |(index, column): &(usize, String)| {
            row.get(*index).and_then(one_line).ok_or_else(|| DataError::Empty {
                path: self.path.clone(),
                line,
                column: column.clone(),
            })
        };
        Ok(Record {
            text: field(&self.text)?,
            label: self.label.as_ref().map(field).transpose()?,
            source: self.source.as_ref().map(field).transpose()?,
        })
    }
}

fn csv_error(path: &Path, next_line: u64, error: csv::Error) -> DataError {
    let line = error.position().map_or(next_line, csv::Position::line);
    let path = path.to_path_buf();
    match error.into_kind() {
        ErrorKind::Io(source) => read_error(&path, line, source),
        ErrorKind::Utf8 { .. } => DataError::NotUtf8 { path, line },
        ErrorKind::UnequalLengths { expected_len, len, .. } => {
            DataError::UnequalFields { path, line, expected: expected_len, found: len }
        }
        other => DataError::Read { path, line, source: io::Error::other(format!("{other:?}")) },
    }
}

/// Counts the quotes that pass: well-formed CSV has an even number of them, but the parser takes a
/// quote that is never closed for the rest of the file.
struct CountQuotes<R> {
    reader: R,
    quotes: Rc<Cell<u64>>,
}

impl<R: Read> Read for CountQuotes<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.reader.read(buffer)?;
        let quotes = buffer[..length].iter().filter(|byte| **byte == b'"').count();
        self.quotes.set(self.quotes.get() + quotes as u64);
        Ok(length)
    }
}
