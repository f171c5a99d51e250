use std::io::{BufRead, stdin};

use anyhow::{Context, Result};

/// The texts of the arguments one by one; if there are none, the lines of stdin as they come.
pub fn texts(arguments: &[String]) -> Box<dyn Iterator<Item = Result<String>> + '_> {
    if arguments.is_empty() {
        Box::new(stdin().lock().lines().enumerate().map(|(number, line)| {
            line.with_context(|| format!("cannot read line {} of stdin", number + 1))
        }))
    } else {
        Box::new(arguments.iter().cloned().map(Ok))
    }
}
