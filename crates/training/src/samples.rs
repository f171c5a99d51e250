//! The sample texts of a stage, one line each.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use latent_text_nn::write_atomically;

use crate::TrainingError;

/// Appends sample texts to a file, each behind the step it was made at and a tab.
pub struct SampleLog {
    path: PathBuf,
}

impl SampleLog {
    /// Goes on with the file of a run that continues after `step`: texts of later steps, which will
    /// be made again, are dropped, and so is a last line that was cut off.
    pub fn resume(path: &Path, step: u64) -> Result<Self, TrainingError> {
        if path.exists() {
            let text = fs::read_to_string(path).map_err(TrainingError::file("read", path))?;
            let kept: String = text
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n') && step_of(line).is_some_and(|at| at <= step))
                .collect();
            write_atomically(path, |file| file.write_all(kept.as_bytes()))
                .map_err(TrainingError::file("write", path))?;
        }
        Ok(Self { path: path.to_path_buf() })
    }

    /// Adds texts that were made at `step`.
    pub fn append(&self, step: u64, texts: &[String]) -> Result<(), TrainingError> {
        let lines: String =
            texts.iter().map(|text| format!("{step}\t{}\n", one_line(text))).collect();
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)
            .and_then(|mut file| file.write_all(lines.as_bytes()))
            .map_err(TrainingError::file("write", &self.path))
    }
}

fn step_of(line: &str) -> Option<u64> {
    line.split_once('\t')?.0.parse().ok()
}

/// A model may write line ends too.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}
