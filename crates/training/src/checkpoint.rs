//! Whole checkpoints of a stage: parameters, average, optimiser, step and data position.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};
use latent_text_nn::weights::TensorFile;
use latent_text_nn::write_atomically;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use crate::TrainingError;
use crate::optimisation::{AdamWSnapshot, FlatLayout};

const STATE_FILE: &str = "state.json";
const TENSORS_FILE: &str = "state.safetensors";
const PREFIX: &str = "step-";

/// All that a stage needs to go on as if it had never stopped.
pub struct Checkpoint {
    /// The numbers.
    pub state: CheckpointState,
    /// Parameters in f32, `[len]`.
    pub parameters: Tensor<1>,
    /// Their running average, `[len]`.
    pub average: Option<Tensor<1>>,
    /// The optimiser's history.
    pub optimizer: Option<AdamWSnapshot>,
}

/// The part of a checkpoint that is not tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointState {
    /// The stage it belongs to.
    pub stage: String,
    /// Optimiser steps taken.
    pub step: u64,
    /// Micro-batches drawn: the data position. Every random generator of the training is a function
    /// of `seed` and this number.
    pub batches: u64,
    /// The seed of all generators.
    pub seed: u64,
    /// Steps of the optimiser's history.
    pub optimizer_time: usize,
    /// Updates of the running average.
    pub average_updates: u64,
    /// Fingerprint of the settings that the numbers depend on.
    pub fingerprint: String,
    /// What the classes are called, in their order, if there are any; none in checkpoints of older
    /// versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_names: Option<Vec<String>>,
    /// The order of the parameters.
    pub layout: FlatLayout,
}

/// The checkpoints of one stage, in one folder.
pub struct CheckpointFolder {
    folder: PathBuf,
    keep: usize,
}

impl CheckpointFolder {
    /// Checkpoints in `folder`, of which the newest `keep` stay.
    pub fn new(folder: impl Into<PathBuf>, keep: usize) -> Self {
        Self { folder: folder.into(), keep: keep.max(1) }
    }

    /// Writes a checkpoint under a temporary name, renames it once it is whole, then removes the oldest.
    ///
    /// # Errors
    /// [`TrainingError::File`] or [`TrainingError::Device`].
    pub fn save(&self, checkpoint: Checkpoint) -> Result<PathBuf, TrainingError> {
        let target = self.folder.join(format!("{PREFIX}{:09}", checkpoint.state.step));
        let temporary = target.with_extension("tmp");
        if temporary.exists() {
            fs::remove_dir_all(&temporary).map_err(TrainingError::file("remove", &temporary))?;
        }
        fs::create_dir_all(&temporary).map_err(TrainingError::file("create", &temporary))?;
        write_tensors(&temporary.join(TENSORS_FILE), &checkpoint)?;
        write_json(&temporary.join(STATE_FILE), &checkpoint.state)?;
        if target.exists() {
            fs::remove_dir_all(&target).map_err(TrainingError::file("replace", &target))?;
        }
        fs::rename(&temporary, &target).map_err(TrainingError::file("write", &target))?;
        self.rotate()?;
        Ok(target)
    }

    /// The newest checkpoint, if there is one, with its tensors on `device`.
    ///
    /// # Errors
    /// [`TrainingError::Checkpoint`] if it is damaged.
    pub fn load_newest(&self, device: &Device) -> Result<Option<Checkpoint>, TrainingError> {
        match self.steps()?.pop() {
            Some(path) => read(&path, device).map(Some),
            None => Ok(None),
        }
    }

    fn rotate(&self) -> Result<(), TrainingError> {
        let steps = self.steps()?;
        for old in &steps[..steps.len().saturating_sub(self.keep)] {
            fs::remove_dir_all(old).map_err(TrainingError::file("remove", old))?;
        }
        Ok(())
    }

    /// Oldest first; names are zero-padded, so they sort by step.
    fn steps(&self) -> Result<Vec<PathBuf>, TrainingError> {
        if !self.folder.exists() {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for entry in
            fs::read_dir(&self.folder).map_err(TrainingError::file("read", &self.folder))?
        {
            let path = entry.map_err(TrainingError::file("read", &self.folder))?.path();
            let is_whole = path.extension().is_none();
            let is_step = path
                .file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.starts_with(PREFIX));
            if is_whole && is_step {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }
}

fn write_tensors(path: &Path, checkpoint: &Checkpoint) -> Result<(), TrainingError> {
    let mut named = vec![("parameters", checkpoint.parameters.clone())];
    if let Some(average) = &checkpoint.average {
        named.push(("average", average.clone()));
    }
    if let Some(optimizer) = &checkpoint.optimizer {
        named.push(("moment_1", optimizer.moment_1.clone()));
        named.push(("moment_2", optimizer.moment_2.clone()));
    }
    let mut buffers = Vec::with_capacity(named.len());
    for (name, tensor) in named {
        let values = tensor
            .try_into_vec_as::<f32>()
            .map_err(|error| TrainingError::Device(error.to_string()))?;
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        buffers.push((name, values.len(), bytes));
    }
    let views = buffers.iter().map(|(name, len, bytes)| {
        let view = TensorView::new(Dtype::F32, vec![*len], bytes)
            .expect("the buffer holds four bytes for each of its numbers");
        (*name, view)
    });
    let bytes = safetensors::serialize(views, None)
        .expect("tensors of distinct names and whole shapes can be serialised");
    write_atomically(path, |file| file.write_all(&bytes))
        .map_err(TrainingError::file("write", path))
}

/// Writes `value` as JSON, whole or not at all.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), TrainingError> {
    let text = serde_json::to_string_pretty(value)
        .expect("the crate's own states have string keys and finite numbers");
    write_atomically(path, |file| file.write_all(text.as_bytes()))
        .map_err(TrainingError::file("write", path))
}

fn read(path: &Path, device: &Device) -> Result<Checkpoint, TrainingError> {
    let damaged = |problem: String| TrainingError::Checkpoint {
        path: path.to_path_buf(),
        problem: format!("{problem}; remove that folder to go on from the one before it"),
    };
    let state_path = path.join(STATE_FILE);
    let text = fs::read_to_string(&state_path)
        .map_err(|error| damaged(format!("{STATE_FILE}: {error}")))?;
    let state: CheckpointState =
        serde_json::from_str(&text).map_err(|error| damaged(format!("{STATE_FILE}: {error}")))?;
    let file =
        TensorFile::open(&path.join(TENSORS_FILE)).map_err(|error| damaged(error.to_string()))?;
    let tensor = |name: &str| -> Result<Tensor<1>, TrainingError> {
        let tensor = file.tensor::<1>(name, device).map_err(|error| damaged(error.to_string()))?;
        if tensor.dims()[0] != state.layout.len() {
            return Err(damaged(format!("`{name}` has {} numbers", tensor.dims()[0])));
        }
        Ok(tensor)
    };
    let has = |name: &str| file.shape(name).is_some();
    let parameters = tensor("parameters")?;
    let average = if has("average") { Some(tensor("average")?) } else { None };
    let optimizer = if has("moment_1") {
        Some(AdamWSnapshot {
            time: state.optimizer_time,
            moment_1: tensor("moment_1")?,
            moment_2: tensor("moment_2")?,
        })
    } else {
        None
    };
    Ok(Checkpoint { parameters, average, optimizer, state })
}
