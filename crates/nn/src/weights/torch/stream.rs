//! The format of PyTorch before 1.6: pickles of a magic number, a version, the system, the state dict
//! and the order of the storages; then each storage with its length.

use std::collections::HashMap;

use super::pickle::Pickle;
use super::value::{Description, Storage};
use super::{Places, damaged};
use crate::weights::WeightsError;
use crate::weights::source::Source;

/// A pickle of the number 0x1950a86a20f9469cfc6c.
const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
const VERSION: i64 = 1001;

pub(super) struct Stream<'a> {
    pub(super) content: Description<'a>,
    /// The storages in the order of their bytes.
    order: Vec<&'a str>,
    /// Where the first of them begins.
    start: usize,
}

pub(super) fn state_dict<'a>(bytes: &'a [u8], keys: &[&str]) -> Result<Stream<'a>, String> {
    let mut start = MAGIC.len();
    let mut rest = bytes
        .strip_prefix(MAGIC)
        .ok_or("it is neither a zip archive nor PyTorch's older format")?;
    let mut next = || {
        let pickle = Pickle::read(rest)?;
        rest = &rest[pickle.length..];
        start += pickle.length;
        Ok::<_, String>(pickle)
    };
    if next()?.int() != Some(VERSION) {
        return Err(format!("its version is not {VERSION}"));
    }
    if next()?.flag("little_endian") != Some(true) {
        return Err("its bytes are not in little-endian order".to_string());
    }
    let content = next()?.state_dict(keys)?;
    let order = next()?.texts().ok_or("it does not tell the order of its storages")?;
    Ok(Stream { content, order, start })
}

/// Where the bytes of every storage are.
pub(super) fn places<'a>(source: &Source, stream: &Stream<'a>) -> Result<Places<'a>, WeightsError> {
    let described: HashMap<&str, Storage<'_>> =
        stream.content.storages.iter().map(|storage| (storage.key, *storage)).collect();
    let cut_off = |key: &str| damaged(source, format!("storage `{key}` is cut off"));
    let mut places = Places::new();
    let mut at = stream.start as u64;
    for &key in &stream.order {
        let storage = described
            .get(key)
            .ok_or_else(|| damaged(source, format!("no tensor lies in storage `{key}`")))?;
        let count = source.bytes(at, 8)?.ok_or_else(|| cut_off(key))?;
        let count = count.iter().rev().fold(0, |count, &byte| count << 8 | u64::from(byte));
        if count != storage.count as u64 {
            return Err(damaged(
                source,
                format!("storage `{key}` has another length than it says"),
            ));
        }
        let length = count.checked_mul(storage.dtype.bitsize() as u64 / 8);
        let start = at + 8;
        at = length
            .and_then(|length| start.checked_add(length))
            .filter(|&end| end <= source.length())
            .ok_or_else(|| cut_off(key))?;
        places.insert(key, (start, at - start));
    }
    Ok(places)
}
