use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::FloatDType;
use serde::Serialize;

use super::WeightsError;
use super::save::{Layout, save};
use crate::write_atomically;

/// What follows the name of a file in that of its index.
const INDEX_SUFFIX: &str = ".index.json";

/// [`save`](super::save) in several safetensors files of at most `max_bytes` bytes of values each,
/// with an index beside them, as Hugging Face writes them: for `model.safetensors` as `path`,
/// `model-00001-of-00003.safetensors` and so on, and `model.safetensors.index.json`. A parameter
/// larger than `max_bytes` has a file to itself. If all fits into one file, it is `path`.
///
/// An error before all files are complete leaves the folder as it was. What an earlier save in the same
/// folder left is removed: a whole file last, since it goes before an index until then.
///
/// # Errors
/// As [`save`](super::save).
pub fn save_sharded<M: Module>(
    module: &M,
    path: &Path,
    max_bytes: u64,
    dtype: FloatDType,
    name_of: &dyn Fn(&str) -> String,
) -> Result<(), WeightsError> {
    let layout = Layout::of(module, path, dtype, name_of)?;
    let parts = partition(&layout, max_bytes);
    if parts.len() <= 1 {
        save(module, path, dtype, name_of)?;
        return remove_shards(path);
    }
    let shards: Vec<PathBuf> =
        (1..=parts.len()).map(|number| shard_path(path, number, parts.len())).collect();
    let mut pending = Vec::with_capacity(parts.len());
    for (part, shard) in parts.iter().zip(&shards) {
        pending.push(layout.write(module, part.clone(), shard)?);
    }
    // From here on an old index must not join new files.
    remove(&index_path(path))?;
    for (pending, shard) in pending.into_iter().zip(&shards) {
        pending.publish().map_err(failed(shard))?;
    }
    write_index(&layout, &parts, &shards, &index_path(path))?;
    remove(path)?;
    remove_shards_but(path, &shards)
}

/// Removes the index and the shards that an earlier [`save_sharded`] to `path` left.
///
/// # Errors
/// [`WeightsError::Write`] if a file can't be removed.
pub fn remove_shards(path: &Path) -> Result<(), WeightsError> {
    remove(&index_path(path))?;
    remove_shards_but(path, &[])
}

/// Runs of parameters that fill one file each.
fn partition(layout: &Layout, max_bytes: u64) -> Vec<Range<usize>> {
    let mut parts: Vec<Range<usize>> = Vec::new();
    let mut filled = 0u64;
    for parameter in 0..layout.parameters.len() {
        let bytes = layout.bytes_of(parameter) as u64;
        match parts.last_mut() {
            Some(part) if filled.saturating_add(bytes) <= max_bytes => part.end += 1,
            _ => {
                parts.push(parameter..parameter + 1);
                filled = 0;
            }
        }
        filled += bytes;
    }
    parts
}

fn write_index(
    layout: &Layout,
    parts: &[Range<usize>],
    shards: &[PathBuf],
    path: &Path,
) -> Result<(), WeightsError> {
    #[derive(Serialize)]
    struct Index<'a> {
        metadata: Totals,
        weight_map: BTreeMap<&'a str, String>,
    }

    #[derive(Serialize)]
    struct Totals {
        total_parameters: usize,
        total_size: usize,
    }

    let all = 0..layout.parameters.len();
    let metadata = Totals {
        total_parameters: layout.parameters.iter().map(|(_, shape)| count(shape)).sum(),
        total_size: all.map(|parameter| layout.bytes_of(parameter)).sum(),
    };
    let mut weight_map = BTreeMap::new();
    for (part, shard) in parts.iter().zip(shards) {
        for (name, _) in &layout.parameters[part.clone()] {
            weight_map.insert(name.as_str(), name_of(shard).to_string());
        }
    }
    let text = serde_json::to_string_pretty(&Index { metadata, weight_map })
        .map_err(io::Error::other)
        .map_err(failed(path))?;
    write_atomically(path, |file| writeln!(file, "{text}")).map_err(failed(path))
}

fn count(shape: &[usize]) -> usize {
    shape.iter().product()
}

fn index_path(path: &Path) -> PathBuf {
    path.with_file_name(format!("{}{INDEX_SUFFIX}", name_of(path)))
}

fn shard_path(path: &Path, number: usize, of: usize) -> PathBuf {
    let (stem, extension) = parts_of_name(path);
    path.with_file_name(format!("{stem}-{number:05}-of-{of:05}{extension}"))
}

/// Removes the shards of `path` other than those in `kept`.
fn remove_shards_but(path: &Path, kept: &[PathBuf]) -> Result<(), WeightsError> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let name = entry.map_err(failed(folder))?.file_name();
        let Some(name) = name.to_str() else { continue };
        let other = path.with_file_name(name);
        if is_shard(path, name) && !kept.contains(&other) {
            remove(&other)?;
        }
    }
    Ok(())
}

/// Whether `name` is that of a shard of `path`, whatever their number.
fn is_shard(path: &Path, name: &str) -> bool {
    let (stem, extension) = parts_of_name(path);
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    name.strip_prefix(&format!("{stem}-"))
        .and_then(|rest| rest.strip_suffix(&extension))
        .and_then(|rest| rest.split_once("-of-"))
        .is_some_and(|(number, of)| is_number(number) && is_number(of))
}

/// The name without its extension, and the extension with its dot.
fn parts_of_name(path: &Path) -> (String, String) {
    let name = name_of(path);
    match name.rsplit_once('.') {
        Some((stem, extension)) => (stem.to_string(), format!(".{extension}")),
        None => (name.to_string(), String::new()),
    }
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn remove(path: &Path) -> Result<(), WeightsError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(path)(error)),
        _ => Ok(()),
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> WeightsError {
    move |source| WeightsError::Write { path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{is_shard, shard_path};

    #[test]
    fn only_shards_of_the_same_file_are_removed() {
        let path = Path::new("folder/model.safetensors");
        let shard = shard_path(path, 3, 12);
        assert_eq!(shard, Path::new("folder/model-00003-of-00012.safetensors"));
        assert!(is_shard(path, "model-00003-of-00012.safetensors"));
        for other in [
            "model.safetensors",
            "model.safetensors.index.json",
            "model-00003-of-00012.bin",
            "model-3-of-12.safetensors",
            "model-00003-of-0001x.safetensors",
            "tokenizer-00003-of-00012.safetensors",
            "model-00003-of-00012.safetensors.bak",
        ] {
            assert!(!is_shard(path, other), "{other}");
        }
    }
}
