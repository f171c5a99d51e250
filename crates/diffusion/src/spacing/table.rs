//! Spacings over the entries of a discrete table: whole entries, no interpolation.

use serde::{Deserialize, Serialize};

use super::NoisePoint;
use crate::{DiffusionError, NoiseSchedule};

/// Entries in equal steps from the last to the first, both included, rounded to the nearest; one
/// step starts at the last. For `table` schedules.
///
/// Errors: [`DiffusionError::NotATable`], and [`DiffusionError::TooManySteps`] for more steps than
/// entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linspace {}

impl Linspace {
    pub(super) fn points(
        &self,
        schedule: &NoiseSchedule,
        steps: usize,
    ) -> Result<Vec<NoisePoint>, DiffusionError> {
        entries("linspace", schedule, steps, |step, len| {
            let last = (len - 1) as f64;
            if step == 0 {
                return last;
            }
            (steps - 1 - step) as f64 * (last / (steps - 1) as f64)
        })
    }
}

/// Every entry number `k floor(len / steps) + offset`, the spacing of DDIM (Song et al., 2021) for
/// offset 0. It need not reach the last entry. For `table` schedules.
///
/// Errors: [`DiffusionError::NotATable`], and [`DiffusionError::TooManySteps`] for more steps than
/// entries or an offset that leaves the table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Leading {
    /// Added to every entry's number. Default: 0 (Stable Diffusion uses 1).
    pub offset: usize,
}

impl Leading {
    pub(super) fn points(
        &self,
        schedule: &NoiseSchedule,
        steps: usize,
    ) -> Result<Vec<NoisePoint>, DiffusionError> {
        entries("leading", schedule, steps, |step, len| {
            ((steps - 1 - step) * (len / steps)) as f64 + self.offset as f64
        })
    }
}

/// The entries before `len`, `len - len / steps`, .., rounded to the nearest: from the last entry on
/// (Lin et al., 2024). With a whole `len / steps`, this is also the spacing of LD4LG's first
/// version. For `table` schedules.
///
/// Errors: [`DiffusionError::NotATable`], and [`DiffusionError::TooManySteps`] for more steps than
/// entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trailing {}

impl Trailing {
    pub(super) fn points(
        &self,
        schedule: &NoiseSchedule,
        steps: usize,
    ) -> Result<Vec<NoisePoint>, DiffusionError> {
        entries("trailing", schedule, steps, |step, len| {
            let stride = len as f64 / steps as f64;
            (len as f64 - step as f64 * stride).round_ties_even() - 1.0
        })
    }
}

/// The points of the entries `entry(step, len)`, rounded half to even as in numpy.
fn entries(
    spacing: &'static str,
    schedule: &NoiseSchedule,
    steps: usize,
    entry: impl Fn(usize, usize) -> f64,
) -> Result<Vec<NoisePoint>, DiffusionError> {
    let len = schedule.table_len().ok_or(DiffusionError::NotATable { spacing })?;
    let last = (len - 1) as f64;
    let entries: Vec<f64> =
        (0..steps.min(len)).map(|step| entry(step, len).round_ties_even()).collect();
    if steps > len || entries.iter().any(|entry| *entry > last) {
        return Err(DiffusionError::TooManySteps { spacing, steps, len });
    }
    Ok(entries.into_iter().map(|entry| NoisePoint::at_time(schedule, entry / last)).collect())
}
