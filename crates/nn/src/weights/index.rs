use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use serde::Deserialize;

use super::WeightsError;
use super::source::Source;

/// Which file holds which tensor.
pub(super) struct Index {
    /// The names of the tensors of each file.
    pub(super) shards: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Deserialize)]
struct Content {
    weight_map: BTreeMap<String, String>,
}

impl Index {
    /// Reads an index; all its files must lie beside it.
    pub(super) fn read(path: &Path) -> Result<Self, WeightsError> {
        let source = Source::open(path)?;
        let text = source.bytes(0, source.length())?.unwrap_or_default();
        let content: Content = serde_json::from_slice(&text)
            .map_err(|error| unusable(path, vec![error.to_string()]))?;
        let mut shards = BTreeMap::<String, BTreeSet<String>>::new();
        for (tensor, shard) in content.weight_map {
            shards.entry(shard).or_default().insert(tensor);
        }
        let problems: Vec<String> =
            shards.keys().filter_map(|shard| problem_of(path, shard)).collect();
        if problems.is_empty() { Ok(Self { shards }) } else { Err(unusable(path, problems)) }
    }
}

fn problem_of(index: &Path, shard: &str) -> Option<String> {
    if !is_plain(shard) {
        return Some(format!("`{shard}` is not the name of a file beside it"));
    }
    (!index.with_file_name(shard).exists()).then(|| format!("missing file: {shard}"))
}

/// Whether `name` can only be a file of the same folder, on any system.
fn is_plain(name: &str) -> bool {
    let mut components = Path::new(name).components();
    let first = components.next();
    matches!(first, Some(Component::Normal(_)))
        && components.next().is_none()
        && !name.contains(['/', '\\', ':', '\0'])
}

fn unusable(path: &Path, problems: Vec<String>) -> WeightsError {
    WeightsError::Index { path: path.to_path_buf(), problems }
}

#[cfg(test)]
mod tests {
    use super::is_plain;

    #[test]
    fn only_names_of_neighbours_are_plain() {
        for name in ["model-00001-of-00002.safetensors", "a b.bin", "..."] {
            assert!(is_plain(name), "{name}");
        }
        let others = ["", ".", "..", "a/b", "/a", "../a", "a/", "./a", "a\\b", "c:a", "a\0"];
        for name in others {
            assert!(!is_plain(name), "{name}");
        }
    }
}
