//! What `torch.save` writes for a state dict: a pickle that describes the tensors, and their bytes,
//! in a zip archive or, before PyTorch 1.6, one after the other behind the pickle.

mod archive;
mod opcodes;
mod pickle;
mod stream;
mod value;

use std::collections::{BTreeMap, HashMap};

use self::archive::Archive;
use self::value::View;
use super::WeightsError;
use super::source::Source;
use super::strided::is_contiguous;
use super::tensor_file::Stored;

/// The longest pickle that is read. A state dict takes some 150 bytes for a tensor.
const MAX_PICKLE: u64 = 8 << 20;

/// Offset and length in the file of the bytes of a storage.
type Places<'a> = HashMap<&'a str, (u64, u64)>;

/// Where each tensor of the state dict below `keys` is; `number` is that of the source.
pub(super) fn read_state_dict(
    source: &Source,
    number: usize,
    keys: &[&str],
) -> Result<BTreeMap<String, Stored>, WeightsError> {
    let damaged = |problem| damaged(source, problem);
    if let Some(archive) = Archive::open(source)? {
        let pickle = archive.read("data.pkl", MAX_PICKLE)?;
        let described = pickle::state_dict(&pickle, keys).map_err(damaged)?;
        let places = archive.places(described.needed_storages())?;
        stored(described.tensors, &places, number).map_err(damaged)
    } else {
        let start = source.bytes(0, source.length().min(MAX_PICKLE))?.unwrap_or_default();
        let described = stream::state_dict(&start, keys).map_err(damaged)?;
        let places = stream::places(source, &described)?;
        stored(described.content.tensors, &places, number).map_err(damaged)
    }
}

fn stored(
    tensors: Vec<(&str, View<'_>)>,
    places: &Places<'_>,
    source: usize,
) -> Result<BTreeMap<String, Stored>, String> {
    let mut all = BTreeMap::new();
    for (name, view) in tensors {
        let offset =
            locate(&view, places).map_err(|problem| format!("tensor `{name}` {problem}"))?;
        let View { dtype, shape, strides, .. } = view;
        let strides = (!is_contiguous(&shape, &strides)).then_some(strides);
        let tensor = Stored { source, dtype, shape, strides, offset };
        if all.insert(name.to_string(), tensor).is_some() {
            return Err(format!("tensor `{name}` is there twice"));
        }
    }
    Ok(all)
}

/// The offset in the file of a tensor's first element, if all its elements lie in its storage.
fn locate(view: &View<'_>, places: &Places<'_>) -> Result<u64, String> {
    let &(start, length) = places
        .get(view.storage)
        .ok_or_else(|| format!("lies in storage `{}`, which is missing", view.storage))?;
    let size = view.dtype.bitsize() / 8;
    let available = usize::try_from(length).unwrap_or(usize::MAX) / size;
    let too_large =
        || format!("of shape {:?} is larger than its storage of {available} elements", view.shape);
    let count = view.count().ok_or_else(too_large)?;
    if count == 0 {
        return Ok(start);
    }
    let last = view.last().ok_or_else(too_large)?;
    // A view that repeats elements may reach no further than its storage and yet be far larger.
    if count > available || last >= available {
        return Err(too_large());
    }
    Ok(start + (view.first * size) as u64)
}

fn damaged(source: &Source, problem: impl Into<String>) -> WeightsError {
    WeightsError::StateDict { path: source.path().to_path_buf(), problem: problem.into() }
}
