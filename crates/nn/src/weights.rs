//! Module parameters in weight files, under PyTorch's conventions: a parameter is named by its
//! field path (`model.encoder.layers.0.fc1.weight`), a linear weight is stored `[out, in]`, and the
//! gain and offset of a layer norm are called `weight` and `bias`. The variant of an enum is no part
//! of a name. The parts of a [`JoinedLinear`](crate::JoinedLinear) are tensors of their own.
//!
//! Read are safetensors files, PyTorch's state dicts (without running anything in them; also those
//! inside of the checkpoints of a training) and the indices of checkpoints in several files; written
//! are safetensors, whole or in shards. Tensors go through memory one at a time in both directions.

mod elements;
mod header;
mod index;
mod load;
mod save;
mod shards;
mod source;
mod strided;
mod tensor_file;
mod torch;
mod transpose;

pub use load::{load, load_with};
pub use save::{named_shapes, parameter_shapes, save};
pub use shards::{remove_shards, save_sharded};
pub use tensor_file::TensorFile;

use std::path::PathBuf;

use crate::joined_linear;

/// What can go wrong with a weights file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The file can't be read.
    #[error("cannot read the weights file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file can't be written.
    #[error("cannot write the weights file {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not whole, or not safetensors.
    #[error("{path} is not a whole safetensors file; copy or download it again")]
    Format {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: safetensors::SafeTensorError,
    },
    /// The file is not whole, or not a state dict as PyTorch writes it.
    #[error("{path} is not a whole PyTorch state dict: {problem}")]
    StateDict {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The index of a checkpoint in several files is damaged, or does not agree with them.
    #[error("the index {path} can't be used:{}", list(.problems))]
    Index {
        /// The index.
        path: PathBuf,
        /// One line for each file or tensor at fault.
        problems: Vec<String>,
    },
    /// The file holds other tensors than the model has.
    #[error("{path} does not fit the model's configuration:{}", list(.problems))]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// One line for each tensor that is missing, unexpected or of another shape, or that should
        /// be the same as another.
        problems: Vec<String>,
    },
    /// One tensor can't be used.
    #[error("{path}: tensor `{name}` {problem}")]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The device failed to hand over a parameter.
    #[error("cannot read parameter `{name}` back from the device: {problem}")]
    Device {
        /// The parameter.
        name: String,
        /// What the device answered.
        problem: String,
    },
}

/// The first problems, one a line.
fn list(problems: &[String]) -> String {
    const SHOWN: usize = 12;
    let mut text = String::new();
    for problem in problems.iter().take(SHOWN) {
        text.push_str("\n  ");
        text.push_str(problem);
    }
    if problems.len() > SHOWN {
        text.push_str(&format!("\n  and {} more", problems.len() - SHOWN));
    }
    text
}

/// Follows a traversal of a module and tells where it stands.
#[derive(Default)]
struct Cursor {
    path: Vec<String>,
    containers: Vec<String>,
}

impl Cursor {
    fn enter(&mut self, name: &str, container: &str) {
        self.path.push(name.to_string());
        self.containers.push(container.to_string());
    }

    fn exit(&mut self) {
        self.path.pop();
        self.containers.pop();
    }

    fn is_in(&self, container: &str) -> bool {
        self.containers.last().is_some_and(|last| last == container)
    }

    /// The parameter's name in PyTorch's words.
    fn name(&self) -> String {
        let parts = self.path.iter().zip(&self.containers);
        let fields = parts.filter(|(_, container)| !container.starts_with("Enum:"));
        let mut name = fields.map(|(field, _)| field.as_str()).collect::<Vec<_>>().join(".");
        if self.is_in("Struct:LayerNorm") {
            for (burn, torch) in [("gamma", "weight"), ("beta", "bias")] {
                if let Some(stem) = name.strip_suffix(burn) {
                    name = format!("{stem}{torch}");
                    break;
                }
            }
        }
        name
    }

    /// The names under which files hold this parameter, in the order of its parts.
    fn names(&self) -> Vec<String> {
        let name = self.name();
        let parts = self.path.len().checked_sub(2).filter(|_| self.is_in(joined_linear::CONTAINER));
        let Some(joined) = parts.map(|holder| self.path[holder].as_str()) else {
            return vec![name];
        };
        let end = format!("{joined}.weight");
        let stem = name.strip_suffix(&end).unwrap_or(&name);
        joined.split('_').map(|part| format!("{stem}{part}.weight")).collect()
    }

    /// Whether files hold the transpose of this parameter.
    fn is_transposed(&self) -> bool {
        let is_linear = self.is_in("Struct:Linear") || self.is_in(joined_linear::CONTAINER);
        is_linear && self.path.last().is_some_and(|last| last == "weight")
    }
}
