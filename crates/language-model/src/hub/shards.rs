use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::HubError;

/// The index of a sharded checkpoint: which file has which tensor.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The files that an index names; all of them lie beside it.
pub(super) fn shards(index: &Path) -> Result<BTreeSet<String>, HubError> {
    let text = fs::read_to_string(index)
        .map_err(|source| HubError::Cache { path: index.to_path_buf(), source })?;
    let parsed: Index = serde_json::from_str(&text)
        .map_err(|source| HubError::Index { path: index.to_path_buf(), source: source.into() })?;
    let shards: BTreeSet<String> = parsed.weight_map.into_values().collect();
    match shards.iter().find(|shard| !is_plain(shard)) {
        Some(shard) => Err(HubError::Index {
            path: index.to_path_buf(),
            source: format!("`{shard}` is no name of a file beside it").into(),
        }),
        None => Ok(shards),
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', ':', '\0'])
}
