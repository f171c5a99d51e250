use serde_json::Value;

/// What is wrong with the table by which SentencePiece normalises texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum CharsmapError {
    #[error("the normaliser's table is not base64")]
    Encoding,
    #[error("the normaliser's table is cut off")]
    CutOff,
    #[error("the normaliser's replacements are not UTF-8")]
    NotUtf8,
    #[error("the normaliser's table points outside itself")]
    Outside,
}

/// The longest text that one character may turn into, in bytes. The longest one of NFKC has 33.
const MAX_REPLACEMENT: usize = 1024;
const LABEL: usize = (1 << 31) | 0xff;

/// Walks through all that a text can reach in the table, as the `tokenizers` crate trusts it. The
/// table is a double array (of 32-bit units behind their length in bytes) whose leaves are offsets
/// into the replacements behind it, each of which ends with a zero.
pub(super) fn check(charsmap: &[u8]) -> Result<(), CharsmapError> {
    let (length, rest) = charsmap.split_first_chunk::<4>().ok_or(CharsmapError::CutOff)?;
    let length = u32::from_le_bytes(*length) as usize / 4 * 4;
    let (units, replacements) = rest.split_at_checked(length).ok_or(CharsmapError::CutOff)?;
    let units: Vec<u32> = units
        .chunks_exact(4)
        .map(|unit| u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]]))
        .collect();
    let replacements = str::from_utf8(replacements).map_err(|_| CharsmapError::NotUtf8)?;
    Walk { units: &units, replacements }.run()
}

struct Walk<'a> {
    units: &'a [u32],
    replacements: &'a str,
}

impl Walk<'_> {
    fn run(&self) -> Result<(), CharsmapError> {
        let root = offset(self.unit(0)?);
        let mut seen = vec![false; self.units.len()];
        let mut open = vec![root];
        while let Some(node) = open.pop() {
            // Children lie at the node's place with other lowest bits.
            self.unit(node | 0xff)?;
            if std::mem::replace(&mut seen[node], true) {
                continue;
            }
            for byte in 1..=0xff {
                let place = node ^ byte;
                let unit = self.unit(place)?;
                if unit & LABEL == byte {
                    let child = place ^ offset(unit);
                    if unit >> 8 & 1 == 1 {
                        self.replacement(self.unit(child)? & !(1 << 31))?;
                    }
                    open.push(child);
                }
            }
        }
        Ok(())
    }

    fn unit(&self, place: usize) -> Result<usize, CharsmapError> {
        self.units.get(place).map(|&unit| unit as usize).ok_or(CharsmapError::Outside)
    }

    fn replacement(&self, start: usize) -> Result<(), CharsmapError> {
        let text = self.replacements.get(start..).ok_or(CharsmapError::Outside)?;
        let end = text.bytes().take(MAX_REPLACEMENT + 1).position(|byte| byte == 0);
        if end.unwrap_or(text.len()) > MAX_REPLACEMENT {
            return Err(CharsmapError::Outside);
        }
        Ok(())
    }
}

/// How far a node's children are from it.
fn offset(unit: usize) -> usize {
    (unit >> 10) << ((unit & (1 << 9)) >> 6)
}

/// The table of the first such normaliser in a `tokenizer.json`, after a check of all of them.
pub(super) fn checked_in(normalizer: &Value) -> Result<Option<Vec<u8>>, CharsmapError> {
    match normalizer {
        Value::Object(entries) if entries.get("type").is_some_and(|kind| kind == "Precompiled") => {
            let text = entries.get("precompiled_charsmap").and_then(Value::as_str);
            let charsmap = text.and_then(from_base64).ok_or(CharsmapError::Encoding)?;
            check(&charsmap)?;
            Ok(Some(charsmap))
        }
        Value::Object(entries) => first(entries.values()),
        Value::Array(values) => first(values.iter()),
        _ => Ok(None),
    }
}

fn first<'a>(values: impl Iterator<Item = &'a Value>) -> Result<Option<Vec<u8>>, CharsmapError> {
    let mut found = None;
    for value in values {
        let next = checked_in(value)?;
        found = found.or(next);
    }
    Ok(found)
}

/// Decodes base64 with its padding.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - digits.len() > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for group in digits.as_bytes().chunks(4) {
        let mut bits: u32 = 0;
        for place in 0..4 {
            bits = bits << 6 | group.get(place).map_or(Some(0), |&digit| six_bits(digit))?;
        }
        let three = bits.to_be_bytes();
        let (whole, left) = three[1..].split_at_checked(group.len() - 1)?;
        if left.iter().any(|&byte| byte != 0) {
            return None;
        }
        bytes.extend(whole);
    }
    Some(bytes)
}

fn six_bits(digit: u8) -> Option<u32> {
    let bits = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table that turns `a` into `b`: the root's children are 256 units further on.
    fn table() -> Vec<u8> {
        let mut units = [0_u32; 512];
        units[0] = 256 << 10;
        units[256 + 97] = 97 | 1 << 8 | (1 << 10);
        units[(256 + 97) ^ 1] = 1 << 31;
        let mut bytes = (512_u32 * 4).to_le_bytes().to_vec();
        bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
        bytes.extend(b"b\0");
        bytes
    }

    #[test]
    fn a_whole_table_passes() {
        assert_eq!(check(&table()), Ok(()));
        let read = tokenizers::normalizers::Precompiled::from(&table()).unwrap();
        assert_eq!(read.normalize_string("cab"), "cbb");
    }

    #[test]
    fn damaged_tables_are_refused() {
        let changed = |place: usize, unit: u32| {
            let mut bytes = table();
            bytes[place * 4 + 4..place * 4 + 8].copy_from_slice(&unit.to_le_bytes());
            check(&bytes)
        };
        assert_eq!(changed(0, 512 << 10), Err(CharsmapError::Outside));
        assert_eq!(changed(256 + 97, 97 | 1 << 8 | 9000 << 10), Err(CharsmapError::Outside));
        assert_eq!(changed((256 + 97) ^ 1, 1 << 31 | 3), Err(CharsmapError::Outside));
        assert_eq!(check(&table()[..500]), Err(CharsmapError::CutOff));
        assert_eq!(check(&[255; 4]), Err(CharsmapError::CutOff));
        assert_eq!(check(&[0; 4]), Err(CharsmapError::Outside));
        assert_eq!(check(&[]), Err(CharsmapError::CutOff));
        assert_eq!(check(&[table(), vec![0xff]].concat()), Err(CharsmapError::NotUtf8));
        let long = [&table()[..table().len() - 1], &[b'c'; MAX_REPLACEMENT]].concat();
        assert_eq!(check(&long), Err(CharsmapError::Outside));
    }

    #[test]
    fn a_table_may_come_back_to_a_node() {
        let mut bytes = table();
        // The child of `a` is the root's place: an endless text of `a` never leaves it.
        let unit: u32 = 97 | 97 << 10;
        bytes[(256 + 97) * 4 + 4..(256 + 97) * 4 + 8].copy_from_slice(&unit.to_le_bytes());
        assert_eq!(check(&bytes), Ok(()));
    }

    #[test]
    fn base64_is_strict() {
        // RFC 4648, section 10.
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9vYmFy", "foobar")] {
            assert_eq!(from_base64(text).unwrap(), bytes.as_bytes());
        }
        for text in ["Zg", "Zg=", "Zh==", "Z===", "====", "Zm9=", "Zm 8", "Zg==Zg=="] {
            assert_eq!(from_base64(text), None, "{text}");
        }
    }
}
