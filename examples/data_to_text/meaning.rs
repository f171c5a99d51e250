//! Meaning representations of the E2E data: `name[The Vaults], eatType[pub], food[Italian]`.

use std::fmt;

use anyhow::{Result, bail, ensure};

/// The slots in the order in which the training data has them.
const SLOTS: [&str; 8] =
    ["name", "eatType", "food", "priceRange", "customer rating", "area", "familyFriendly", "near"];

/// What a text is to say, one value a slot at most.
#[derive(Debug, PartialEq, Eq)]
pub struct Meaning {
    /// The value of each of [`SLOTS`].
    values: [Option<String>; SLOTS.len()],
}

impl Meaning {
    /// Reads `slot[value], slot[value], ..` with the slots in any order.
    pub fn parse(line: &str) -> Result<Self> {
        let mut values = [const { None }; SLOTS.len()];
        let mut rest = line.trim();
        while !rest.is_empty() {
            let Some((slot, (value, after))) =
                rest.split_once('[').and_then(|(slot, rest)| Some((slot, rest.split_once(']')?)))
            else {
                bail!("`{rest}` is not of the form slot[value]");
            };
            let (slot, value) = (slot.trim(), value.trim());
            let Some(place) = SLOTS.iter().position(|known| *known == slot) else {
                bail!("there is no slot `{slot}`; known are {}", SLOTS.join(", "));
            };
            ensure!(!value.is_empty(), "the slot `{slot}` is empty");
            ensure!(values[place].is_none(), "the slot `{slot}` stands there twice");
            values[place] = Some(value.to_string());
            let after = after.trim_start();
            rest = after.strip_prefix(',').unwrap_or(after).trim_start();
        }
        ensure!(values.iter().any(Option::is_some), "it says nothing");
        Ok(Self { values })
    }
}

impl fmt::Display for Meaning {
    /// As the model was trained to read it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slots = SLOTS.iter().zip(&self.values);
        let said = slots.filter_map(|(slot, value)| Some((slot, value.as_ref()?)));
        for (place, (slot, value)) in said.enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{slot}[{value}]")?;
        }
        Ok(())
    }
}
