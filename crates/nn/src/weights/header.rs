use safetensors::SafeTensorError;
use safetensors::tensor::Metadata;

use super::WeightsError;
use super::source::Source;

/// Bytes that hold the length of the header.
const PREFIX: u64 = 8;

/// The longest header that the format allows.
const MAX_HEADER: u64 = 100_000_000;

/// Reads the header of a safetensors file, and checks it against the file's length. Returns it with
/// the offset of the tensors.
pub(super) fn read_header(source: &Source) -> Result<(Metadata, u64), WeightsError> {
    let damaged = |error| WeightsError::Format { path: source.path().to_path_buf(), source: error };
    let Some(prefix) = source.bytes(0, PREFIX)? else {
        return Err(damaged(SafeTensorError::HeaderTooSmall));
    };
    let length = prefix.iter().rev().fold(0, |length, &byte| length << 8 | u64::from(byte));
    if length > MAX_HEADER {
        return Err(damaged(SafeTensorError::HeaderTooLarge));
    }
    let Some(header) = source.bytes(PREFIX, length)? else {
        return Err(damaged(SafeTensorError::InvalidHeaderLength));
    };
    let header: Metadata = serde_json::from_slice(&header)
        .map_err(|error| damaged(SafeTensorError::InvalidHeaderDeserialization(error)))?;
    let start = PREFIX + length;
    if start.checked_add(header.data_len() as u64) != Some(source.length()) {
        return Err(damaged(SafeTensorError::MetadataIncompleteBuffer));
    }
    Ok((header, start))
}
