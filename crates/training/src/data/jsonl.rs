use std::path::Path;

use serde_json::{Map, Value};

use super::source::Source;
use super::{DataError, DatasetConfig, Record, one_line};

/// One JSON object a line.
pub(super) fn records(
    source: Source,
    config: &DatasetConfig,
) -> impl Iterator<Item = Result<Record, DataError>> {
    let path = source.path.clone();
    source.lines().map(move |line| {
        let (line, text) = line?;
        let fields = Fields::parse(&path, line, &text)?;
        Ok(Record {
            text: fields.text(&config.text_column)?,
            label: config.label_column.as_deref().map(|name| fields.label(name)).transpose()?,
            source: config.source_column.as_deref().map(|name| fields.text(name)).transpose()?,
        })
    })
}

struct Fields<'a> {
    path: &'a Path,
    line: u64,
    values: Map<String, Value>,
}

impl<'a> Fields<'a> {
    fn parse(path: &'a Path, line: u64, text: &str) -> Result<Self, DataError> {
        match serde_json::from_str(text) {
            Ok(values) => Ok(Self { path, line, values }),
            Err(source) => Err(DataError::MalformedJson { path: path.to_path_buf(), line, source }),
        }
    }

    fn text(&self, column: &str) -> Result<String, DataError> {
        match self.value(column)? {
            Value::String(text) => self.filled(column, text),
            other => Err(self.wrong_type(column, "a string", other)),
        }
    }

    fn label(&self, column: &str) -> Result<String, DataError> {
        match self.value(column)? {
            Value::String(label) => self.filled(column, label),
            Value::Number(label) if !label.is_f64() => Ok(label.to_string()),
            other => Err(self.wrong_type(column, "a string or an integer", other)),
        }
    }

    fn value(&self, column: &str) -> Result<&Value, DataError> {
        self.values.get(column).ok_or_else(|| DataError::MissingColumn {
            path: self.path.to_path_buf(),
            line: self.line,
            column: column.into(),
            present: self.values.keys().cloned().collect(),
        })
    }

    fn filled(&self, column: &str, text: &str) -> Result<String, DataError> {
        one_line(text).ok_or_else(|| DataError::Empty {
            path: self.path.to_path_buf(),
            line: self.line,
            column: column.into(),
        })
    }

    fn wrong_type(&self, column: &str, expected: &'static str, value: &Value) -> DataError {
        let found = match value {
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        };
        DataError::WrongType {
            path: self.path.to_path_buf(),
            line: self.line,
            column: column.into(),
            expected,
            found,
        }
    }
}
