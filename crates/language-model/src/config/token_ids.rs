use serde::{Deserialize, Serialize};

use super::InvalidConfig;

/// The ids that end a text: at least one. In JSON a number or a list of numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "OneOrMore", into = "OneOrMore")]
pub struct EosTokenIds {
    first: u32,
    others: Vec<u32>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a token id or a list of token ids")]
enum OneOrMore {
    One(u32),
    More(Vec<u32>),
}

impl EosTokenIds {
    /// # Errors
    /// If there are none.
    pub fn new(ids: &[u32]) -> Result<Self, InvalidConfig> {
        match ids {
            [first, others @ ..] => Ok(Self { first: *first, others: others.to_vec() }),
            [] => Err(InvalidConfig::new("eos_token_id", "[]", "have at least one id")),
        }
    }

    /// The one that stands first in the configuration.
    pub fn first(&self) -> u32 {
        self.first
    }

    /// Whether `id` ends a text.
    pub fn contains(&self, id: u32) -> bool {
        self.iter().any(|own| own == id)
    }

    /// All of them, in the configuration's order.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        std::iter::once(self.first).chain(self.others.iter().copied())
    }
}

impl From<u32> for EosTokenIds {
    fn from(id: u32) -> Self {
        Self { first: id, others: Vec::new() }
    }
}

impl TryFrom<OneOrMore> for EosTokenIds {
    type Error = InvalidConfig;

    fn try_from(ids: OneOrMore) -> Result<Self, InvalidConfig> {
        match ids {
            OneOrMore::One(id) => Ok(id.into()),
            OneOrMore::More(ids) => Self::new(&ids),
        }
    }
}

impl From<EosTokenIds> for OneOrMore {
    fn from(ids: EosTokenIds) -> Self {
        if ids.others.is_empty() { Self::One(ids.first) } else { Self::More(ids.iter().collect()) }
    }
}

/// The ids that begin, end and fill texts: what `generation_config.json` says about tokens.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct TokenIds {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bos_token_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eos_token_id: Option<EosTokenIds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pad_token_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoder_start_token_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forced_bos_token_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forced_eos_token_id: Option<u32>,
}

impl TokenIds {
    /// Checks that all of them are below `vocab_size`.
    pub(crate) fn check(&self, vocab_size: usize) -> Result<(), InvalidConfig> {
        let single = [
            ("pad_token_id", self.pad_token_id),
            ("bos_token_id", self.bos_token_id),
            ("decoder_start_token_id", self.decoder_start_token_id),
            ("forced_bos_token_id", self.forced_bos_token_id),
            ("forced_eos_token_id", self.forced_eos_token_id),
        ];
        let single = single.into_iter().filter_map(|(entry, id)| Some((entry, id?)));
        let eos = self.eos_token_id.iter().flat_map(EosTokenIds::iter);
        for (entry, id) in eos.map(|id| ("eos_token_id", id)).chain(single) {
            if id as usize >= vocab_size {
                let requirement = format!("be below vocab_size = {vocab_size}");
                return Err(InvalidConfig::new(entry, id, requirement));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::EosTokenIds;

    #[test]
    fn a_number_and_a_list_are_read_and_written_alike() {
        for (text, ids) in [("2", vec![2]), ("[2,3]", vec![2, 3])] {
            let read: EosTokenIds = serde_json::from_str(text).unwrap();
            assert_eq!(read.iter().collect::<Vec<_>>(), ids);
            assert_eq!(serde_json::to_string(&read).unwrap(), text);
            assert_eq!(
                (read.first(), read.contains(3), read.contains(4)),
                (2, ids.len() == 2, false)
            );
        }
        let one: EosTokenIds = serde_json::from_str("[7]").unwrap();
        assert_eq!(one, EosTokenIds::from(7));
    }

    #[test]
    fn what_is_no_list_of_ids_is_refused() {
        for text in ["null", "-1", "\"2\"", "[2, -1]", "{}", "2.5"] {
            let error = serde_json::from_str::<EosTokenIds>(text).unwrap_err().to_string();
            assert!(
                error.contains("expected a token id or a list of token ids"),
                "{text}: {error}"
            );
        }
        let error = serde_json::from_str::<EosTokenIds>("[]").unwrap_err().to_string();
        assert!(error.contains("must have at least one id"), "{error}");
    }
}
