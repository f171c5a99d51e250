//! The zip archives of `torch.save`: entries are stored as they are, never compressed.

use std::collections::HashMap;

use super::value::Storage;
use super::{Places, damaged};
use crate::weights::WeightsError;
use crate::weights::source::Source;

const LOCAL_HEADER: [u8; 4] = *b"PK\x03\x04";
const DIRECTORY_ENTRY: [u8; 4] = *b"PK\x01\x02";
const DIRECTORY_END: [u8; 4] = *b"PK\x05\x06";
const DIRECTORY_END_64: [u8; 4] = *b"PK\x06\x06";
const LOCATOR_64: [u8; 4] = *b"PK\x06\x07";

/// Length of the end of the directory without its comment, which has at most 65,535 bytes.
const DIRECTORY_END_LENGTH: usize = 22;
const LOCATOR_64_LENGTH: usize = 20;
const DIRECTORY_END_64_LENGTH: u64 = 56;

/// The tag of the extra field with those numbers that don't fit into 32 bits.
const EXTRA_64: u16 = 1;
const ENCRYPTED: u16 = 1;

pub(super) struct Archive<'a> {
    source: &'a Source,
    /// The folder in the archive that holds everything, with its slash.
    root: String,
    entries: HashMap<String, Entry>,
}

#[derive(Clone, Copy)]
struct Entry {
    header: u64,
    length: u64,
    is_plain: bool,
}

impl<'a> Archive<'a> {
    /// Reads the directory of an archive; `None` if the file does not begin like one.
    pub(super) fn open(source: &'a Source) -> Result<Option<Self>, WeightsError> {
        if source.bytes(0, 4)?.is_none_or(|start| start != LOCAL_HEADER) {
            return Ok(None);
        }
        let entries = read_directory(source)?;
        let mut roots = entries
            .keys()
            .filter_map(|name| name.strip_suffix("data.pkl"))
            .filter(|root| root.is_empty() || root.ends_with('/'));
        let (Some(root), None) = (roots.next(), roots.next()) else {
            return Err(damaged(source, "its archive must have one data.pkl"));
        };
        let archive = Self { source, root: root.to_string(), entries };
        archive.check_byte_order()?;
        Ok(Some(archive))
    }

    /// The content of an entry.
    pub(super) fn read(&self, name: &str, longest: u64) -> Result<Vec<u8>, WeightsError> {
        let (offset, length) = self.place(name)?;
        if length > longest {
            return Err(damaged(self.source, format!("entry `{name}` is too long")));
        }
        self.source.bytes(offset, length)?.ok_or_else(|| self.cut_off(name))
    }

    /// Where the bytes of each storage are.
    pub(super) fn places<'b: 'c, 'c>(
        &self,
        storages: impl IntoIterator<Item = &'c Storage<'b>>,
    ) -> Result<Places<'b>, WeightsError> {
        let mut places = Places::new();
        for storage in storages {
            if places.contains_key(storage.key) {
                continue;
            }
            let name = format!("data/{}", storage.key);
            let (offset, length) = self.place(&name)?;
            let needed = (storage.count as u64).checked_mul(storage.dtype.bitsize() as u64 / 8);
            if needed != Some(length) {
                let problem = format!("entry `{name}` has another length than its tensors need");
                return Err(damaged(self.source, problem));
            }
            places.insert(storage.key, (offset, length));
        }
        Ok(places)
    }

    /// Offset and length of an entry's content, which lies within the file.
    fn place(&self, name: &str) -> Result<(u64, u64), WeightsError> {
        let source = self.source;
        let entry = self
            .entries
            .get(&format!("{}{name}", self.root))
            .ok_or_else(|| damaged(source, format!("its archive lacks the entry `{name}`")))?;
        if !entry.is_plain {
            let problem =
                format!("entry `{name}` is compressed or encrypted; save it with torch.save");
            return Err(damaged(source, problem));
        }
        let header = source.bytes(entry.header, 30)?.ok_or_else(|| self.cut_off(name))?;
        if !header.starts_with(&LOCAL_HEADER) {
            return Err(damaged(source, format!("entry `{name}` is not where it should be")));
        }
        let offset = entry.header
            + header.len() as u64
            + u64::from(u16_at(&header, 26))
            + u64::from(u16_at(&header, 28));
        let end = offset.checked_add(entry.length);
        if end.is_none_or(|end| end > source.length()) {
            return Err(self.cut_off(name));
        }
        Ok((offset, entry.length))
    }

    fn check_byte_order(&self) -> Result<(), WeightsError> {
        const NAME: &str = "byteorder";
        if !self.entries.contains_key(&format!("{}{NAME}", self.root)) {
            return Ok(());
        }
        match self.read(NAME, 16)?.trim_ascii() {
            b"little" => Ok(()),
            _ => Err(damaged(self.source, "its bytes are not in little-endian order")),
        }
    }

    fn cut_off(&self, name: &str) -> WeightsError {
        damaged(self.source, format!("entry `{name}` is cut off"))
    }
}

fn read_directory(source: &Source) -> Result<HashMap<String, Entry>, WeightsError> {
    let cut_off = || damaged(source, "its archive is cut off");
    let (offset, length) = find_directory(source)?.ok_or_else(cut_off)?;
    let directory = source.bytes(offset, length)?.ok_or_else(cut_off)?;
    let mut rest = directory.as_slice();
    let mut entries = HashMap::new();
    while !rest.is_empty() {
        let (name, entry, next) = read_entry(rest)
            .ok_or_else(|| damaged(source, "the directory of its archive makes no sense"))?;
        if entries.insert(name.to_string(), entry).is_some() {
            return Err(damaged(source, format!("entry `{name}` is there twice")));
        }
        rest = next;
    }
    Ok(entries)
}

/// Offset and length of the archive's directory.
fn find_directory(source: &Source) -> Result<Option<(u64, u64)>, WeightsError> {
    let longest = (LOCATOR_64_LENGTH + DIRECTORY_END_LENGTH + usize::from(u16::MAX)) as u64;
    let length = source.length().min(longest);
    let tail = source.bytes(source.length() - length, length)?.unwrap_or_default();
    let Some(at) =
        tail.windows(DIRECTORY_END_LENGTH).rposition(|window| window.starts_with(&DIRECTORY_END))
    else {
        return Ok(None);
    };
    let end = &tail[at..];
    let (length, offset) = (u32_at(end, 12), u32_at(end, 16));
    if length != u32::MAX && offset != u32::MAX {
        return Ok(Some((u64::from(offset), u64::from(length))));
    }
    let Some(locator) = at.checked_sub(LOCATOR_64_LENGTH).map(|start| &tail[start..at]) else {
        return Ok(None);
    };
    if !locator.starts_with(&LOCATOR_64) {
        return Ok(None);
    }
    let end = source.bytes(u64_at(locator, 8), DIRECTORY_END_64_LENGTH)?;
    Ok(end
        .filter(|end| end.starts_with(&DIRECTORY_END_64))
        .map(|end| (u64_at(&end, 48), u64_at(&end, 40))))
}

/// The first entry of a directory, and the rest of it.
fn read_entry(bytes: &[u8]) -> Option<(&str, Entry, &[u8])> {
    let (fixed, rest) = bytes.split_at_checked(46)?;
    if !fixed.starts_with(&DIRECTORY_ENTRY) {
        return None;
    }
    let (name, rest) = rest.split_at_checked(usize::from(u16_at(fixed, 28)))?;
    let (mut extra, rest) = rest.split_at_checked(usize::from(u16_at(fixed, 30)))?;
    let (_, rest) = rest.split_at_checked(usize::from(u16_at(fixed, 32)))?;
    // Those that don't fit are found, in this order, in an extra field.
    let mut numbers = [u32_at(fixed, 24), u32_at(fixed, 20), u32_at(fixed, 42)].map(u64::from);
    while let Some((head, tail)) = extra.split_at_checked(4) {
        let (mut field, next) = tail.split_at_checked(usize::from(u16_at(head, 2)))?;
        if u16_at(head, 0) == EXTRA_64 {
            for number in numbers.iter_mut().filter(|number| **number == u64::from(u32::MAX)) {
                let (long, left) = field.split_at_checked(8)?;
                (*number, field) = (u64_at(long, 0), left);
            }
        }
        extra = next;
    }
    let [length, compressed, header] = numbers;
    let (flags, method) = (u16_at(fixed, 8), u16_at(fixed, 10));
    let is_plain = method == 0 && flags & ENCRYPTED == 0 && compressed == length;
    Some((std::str::from_utf8(name).ok()?, Entry { header, length, is_plain }, rest))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
