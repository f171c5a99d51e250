//! What the configurations of all networks must hold.

use super::InvalidConfig;

pub(crate) const MAX_LAYERS: usize = 1 << 10;
pub(crate) const MAX_SIZE: usize = 1 << 24;

/// Entries with their values and the largest ones allowed.
pub(crate) fn check_sizes(
    entries: impl IntoIterator<Item = (&'static str, usize, usize)>,
) -> Result<(), InvalidConfig> {
    for (entry, size, max) in entries {
        if !(1..=max).contains(&size) {
            return Err(InvalidConfig::new(entry, size, format!("lie in 1..={max}")));
        }
    }
    Ok(())
}

pub(crate) fn check_dropout(entry: &'static str, probability: f64) -> Result<(), InvalidConfig> {
    if (0.0..1.0).contains(&probability) {
        Ok(())
    } else {
        Err(InvalidConfig::new(entry, probability, "lie in [0, 1)"))
    }
}

pub(crate) fn check_not_negative(entry: &'static str, number: f64) -> Result<(), InvalidConfig> {
    if number.is_finite() && number >= 0.0 {
        Ok(())
    } else {
        Err(InvalidConfig::new(entry, number, "be a number of 0 or more"))
    }
}
