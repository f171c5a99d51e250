//! The weights in a model folder: in which files they may be, and how they are written.

use std::path::Path;

use burn::module::Module;
use burn::tensor::FloatDType;
use latent_text_nn::weights::{self, TensorFile, WeightsError};

use crate::LanguageModelError;
use crate::files::create_folder;

const WEIGHTS_FILE: &str = "model.safetensors";

type Open = fn(&Path) -> Result<TensorFile, WeightsError>;

/// The files that weights may be in, or that say where they are; the first that exists counts.
const CANDIDATES: [(&str, Open); 4] = [
    (WEIGHTS_FILE, TensorFile::open),
    ("model.safetensors.index.json", TensorFile::open_index),
    ("pytorch_model.bin", TensorFile::open_state_dict),
    ("pytorch_model.bin.index.json", TensorFile::open_index),
];

/// Opens the weights of a model folder.
pub(crate) fn open(folder: &Path) -> Result<TensorFile, LanguageModelError> {
    for (name, open) in CANDIDATES {
        let path = folder.join(name);
        if path.exists() {
            return Ok(open(&path)?);
        }
    }
    let advice = "a model folder needs its weights as model.safetensors, as \
                  model.safetensors.index.json with the files that it names, as pytorch_model.bin, or \
                  as pytorch_model.bin.index.json with the files that it names";
    Err(LanguageModelError::Missing { path: folder.join(WEIGHTS_FILE), advice })
}

/// Writes the weights as one file.
pub(crate) fn save<M: Module>(
    model: &M,
    folder: &Path,
    dtype: FloatDType,
    name_of: &dyn Fn(&str) -> String,
) -> Result<(), LanguageModelError> {
    create_folder(folder)?;
    let path = folder.join(WEIGHTS_FILE);
    weights::save(model, &path, dtype, name_of)?;
    weights::remove_shards(&path)?;
    Ok(())
}

/// Writes the weights in files of at most `max_bytes`, with their index.
pub(crate) fn save_sharded<M: Module>(
    model: &M,
    folder: &Path,
    max_bytes: u64,
    dtype: FloatDType,
    name_of: &dyn Fn(&str) -> String,
) -> Result<(), LanguageModelError> {
    create_folder(folder)?;
    weights::save_sharded(model, &folder.join(WEIGHTS_FILE), max_bytes, dtype, name_of)?;
    Ok(())
}

/// Checks that those of `copies` that the file has are the same as `table`.
pub(crate) fn check_ties<'a>(
    file: &TensorFile,
    table: &str,
    copies: impl IntoIterator<Item = &'a str>,
) -> Result<(), WeightsError> {
    let mut problems = Vec::new();
    for copy in copies {
        if copy == table || file.shape(copy).is_none() || file.are_equal(table, copy)? {
            continue;
        }
        problems.push(match (file.shape(copy), file.shape(table)) {
            (Some(found), Some(needed)) if found != needed => {
                format!("{copy} must be the same as {table}, but has shape {found:?}")
            }
            _ => format!("{copy} must be the same as {table}, but has other values"),
        });
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(WeightsError::Mismatch { path: file.path().to_path_buf(), problems })
    }
}
