use super::source::Source;
use super::{DataError, Record, one_line};

/// One text a line.
pub(super) fn records(source: Source) -> impl Iterator<Item = Result<Record, DataError>> {
    source.lines().filter_map(|line| match line {
        Ok((_, text)) => one_line(&text).map(|text| Ok(Record { text, label: None, source: None })),
        Err(error) => Some(Err(error)),
    })
}
