use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use latent_text_nn::write_atomically;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One line of a metrics log, a JSON object such as
/// `{"step":100,"stage":"train","loss":0.25,"learning_rate":0.0001}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricsLine {
    /// Optimiser steps taken so far.
    pub step: u64,
    /// What was measured, such as `train` or `valid`.
    pub stage: String,
    /// The metrics by name; `None` (JSON `null`) stands for a number that is not finite.
    #[serde(flatten)]
    pub values: BTreeMap<String, Option<f64>>,
}

/// Why a log or plot could not be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The log can't be read.
    #[error("metrics log {path}: cannot read the file")]
    Read {
        /// The log.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The log or plot can't be written.
    #[error("{path}: cannot write the file; check the folder and the space left")]
    Write {
        /// The log or plot.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line of the log is malformed.
    #[error("metrics log {path}, line {line}: not a line of metrics")]
    Malformed {
        /// The log.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// The log has no loss to plot.
    #[error("metrics log {path}: no finite loss to plot")]
    NoLoss {
        /// The log.
        path: PathBuf,
    },
    /// The plot could not be drawn.
    #[error("plot of {path}: {reason}")]
    Draw {
        /// The log.
        path: PathBuf,
        /// What the drawing library said.
        reason: String,
    },
}

/// Appends the metrics of a run to a JSONL file, one object a line, each written at once.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: File,
}

impl MetricsLog {
    /// Starts an empty log; a file of that name is replaced.
    ///
    /// # Errors
    ///
    /// Where the file can't be written.
    pub fn create(path: &Path) -> Result<Self, ReportError> {
        replace(path, "")?;
        Self::append(path)
    }

    /// Goes on with the log of a run that continues after `step`: lines of later steps, which will
    /// be written again, are dropped, and so is a last line that was cut off. A log that does not
    /// exist is started.
    ///
    /// # Errors
    ///
    /// Where the file can't be read or written, or another line is malformed.
    pub fn resume(path: &Path, step: u64) -> Result<Self, ReportError> {
        if !path.exists() {
            return Self::create(path);
        }
        let text = read(path)?;
        let mut kept = String::with_capacity(text.len());
        for (line, metrics) in whole_lines(path, &text) {
            if metrics?.step <= step {
                kept.push_str(line);
                kept.push('\n');
            }
        }
        replace(path, &kept)?;
        Self::append(path)
    }

    /// Writes one line. Numbers that are not finite become `null`.
    ///
    /// # Errors
    ///
    /// Where the file can't be written.
    ///
    /// # Panics
    ///
    /// If a metric is called `step` or `stage`.
    pub fn write(
        &mut self,
        step: u64,
        stage: &str,
        values: &[(&str, f64)],
    ) -> Result<(), ReportError> {
        assert!(
            values.iter().all(|(name, _)| !["step", "stage"].contains(name)),
            "a metric must not be called `step` or `stage`"
        );
        let mut line = serde_json::Map::new();
        for (name, value) in values {
            line.insert((*name).to_owned(), (*value).into());
        }
        let line = Line { step, stage, values: line };
        serde_json::to_string(&line)
            .map_err(io::Error::from)
            .and_then(|line| self.file.write_all(format!("{line}\n").as_bytes()))
            .map_err(|source| ReportError::Write { path: self.path.clone(), source })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn append(path: &Path) -> Result<Self, ReportError> {
        match OpenOptions::new().append(true).open(path) {
            Ok(file) => Ok(Self { path: path.to_path_buf(), file }),
            Err(source) => Err(ReportError::Write { path: path.to_path_buf(), source }),
        }
    }
}

/// Keeps the caller's order of the metrics, which a sorted map would not.
#[derive(Serialize)]
struct Line<'a> {
    step: u64,
    stage: &'a str,
    #[serde(flatten)]
    values: serde_json::Map<String, serde_json::Value>,
}

/// All lines of a log, in order. A last line without a line end, as a run that was killed may leave
/// it, is passed over.
///
/// # Errors
///
/// Where the file can't be read or another line is malformed.
pub fn read_metrics(path: &Path) -> Result<Vec<MetricsLine>, ReportError> {
    whole_lines(path, &read(path)?).map(|(_, metrics)| metrics).collect()
}

fn whole_lines<'a>(
    path: &Path,
    text: &'a str,
) -> impl Iterator<Item = (&'a str, Result<MetricsLine, ReportError>)> {
    text.split_inclusive('\n').enumerate().filter_map(move |(index, line)| {
        let line = line.strip_suffix('\n')?;
        let metrics = serde_json::from_str(line).map_err(|source| ReportError::Malformed {
            path: path.to_path_buf(),
            line: index + 1,
            source,
        });
        Some((line, metrics))
    })
}

fn read(path: &Path) -> Result<String, ReportError> {
    fs::read_to_string(path)
        .map_err(|source| ReportError::Read { path: path.to_path_buf(), source })
}

/// Writes a whole file under a temporary name and renames it.
pub(super) fn replace(path: &Path, content: &str) -> Result<(), ReportError> {
    write_atomically(path, |file| file.write_all(content.as_bytes()))
        .map_err(|source| ReportError::Write { path: path.to_path_buf(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_of(steps: &[u64]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("metrics.jsonl");
        let mut log = MetricsLog::create(&path).expect("created");
        for step in steps {
            log.write(*step, "train", &[("loss", 1.0 / *step as f64)]).expect("written");
        }
        (folder, path)
    }

    fn steps(path: &Path) -> Vec<u64> {
        read_metrics(path).expect("readable").iter().map(|line| line.step).collect()
    }

    #[test]
    fn a_line_is_one_flat_object() {
        let (_folder, path) = log_of(&[]);
        let mut log = MetricsLog::create(&path).expect("created");
        log.write(7, "valid", &[("loss", 0.5), ("bleu", 97.25)]).expect("written");
        log.write(8, "train", &[("loss", f64::NAN)]).expect("written");
        // Read while the log is open: lines are not held back.
        let text = fs::read_to_string(&path).expect("readable");
        let first: serde_json::Value =
            serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
        assert_eq!(
            first,
            serde_json::json!({"step": 7, "stage": "valid", "loss": 0.5, "bleu": 97.25})
        );
        let lines = read_metrics(&path).expect("readable");
        assert_eq!(lines[0].values["bleu"], Some(97.25));
        assert_eq!(lines[1].values["loss"], None);
    }

    #[test]
    fn resuming_drops_later_lines_and_appends() {
        let (_folder, path) = log_of(&[10, 20, 30, 40]);
        let mut log = MetricsLog::resume(&path, 20).expect("resumed");
        log.write(25, "train", &[("loss", 2.0)]).expect("written");
        assert_eq!(steps(&path), [10, 20, 25]);
    }

    #[test]
    fn a_line_cut_off_is_dropped_but_other_faults_are_errors() {
        let (_folder, path) = log_of(&[10, 20]);
        let whole = fs::read_to_string(&path).expect("readable");
        fs::write(&path, format!("{whole}{{\"step\":30,\"sta")).expect("written");
        assert_eq!(steps(&path), [10, 20]);
        let mut log = MetricsLog::resume(&path, 100).expect("resumed");
        log.write(30, "train", &[("loss", 2.0)]).expect("written");
        assert_eq!(steps(&path), [10, 20, 30]);

        fs::write(&path, format!("{whole}nonsense\n")).expect("written");
        let error = MetricsLog::resume(&path, 100).expect_err("malformed");
        assert!(matches!(error, ReportError::Malformed { line: 3, .. }), "{error}");
    }

    #[test]
    fn create_replaces_and_resume_creates() {
        let (folder, path) = log_of(&[10]);
        MetricsLog::create(&path).expect("created");
        assert_eq!(steps(&path), [0; 0]);
        MetricsLog::resume(&folder.path().join("new.jsonl"), 5).expect("created");
        let files = fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(files, 2, "no temporary file stays");
    }

    #[test]
    fn a_folder_that_is_missing_is_named() {
        let error = MetricsLog::create(Path::new("/no/such/folder/m.jsonl")).expect_err("missing");
        assert!(error.to_string().contains("/no/such/folder/m.jsonl"));
    }

    #[test]
    #[should_panic(expected = "must not be called")]
    fn reserved_names_are_refused() {
        let (_folder, path) = log_of(&[]);
        let mut log = MetricsLog::create(&path).expect("created");
        let _ = log.write(1, "train", &[("step", 1.0)]);
    }
}
