use serde::{Deserialize, Serialize};

use super::NoisePoint;
use crate::{DiffusionError, NoiseSchedule};

/// Times of the caller's choice, one for each step.
///
/// Errors: [`DiffusionError::GivenPoints`] if there are more or fewer than steps,
/// [`DiffusionError::Setting`] for a time outside [0, 1].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Times {
    /// The time before each step, in [0, 1], strictly falling; the run's end is not among them.
    pub times: Vec<f64>,
}

impl Times {
    pub(super) fn points(
        &self,
        schedule: &NoiseSchedule,
        steps: usize,
    ) -> Result<Vec<NoisePoint>, DiffusionError> {
        check_count("times", &self.times, steps)?;
        if let Some(&value) = self.times.iter().find(|time| !(0.0..=1.0).contains(*time)) {
            return Err(DiffusionError::Setting {
                what: "the times spacing",
                setting: "times",
                value,
                requirement: "every time must lie between 0 (data) and 1 (noise)",
            });
        }
        Ok(self.times.iter().map(|&time| NoisePoint::at_time(schedule, time)).collect())
    }
}

/// Log-SNRs of the caller's choice, one for each step; minus infinity is pure noise.
///
/// Errors: [`DiffusionError::GivenPoints`] if there are more or fewer than steps.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSnrs {
    /// The log-SNR before each step, strictly growing; the run's end is not among them.
    pub log_snrs: Vec<f64>,
}

impl LogSnrs {
    pub(super) fn points(
        &self,
        schedule: &NoiseSchedule,
        steps: usize,
    ) -> Result<Vec<NoisePoint>, DiffusionError> {
        check_count("log-SNRs", &self.log_snrs, steps)?;
        let point = |&log_snr: &f64| NoisePoint::at_log_snr(schedule, log_snr);
        Ok(self.log_snrs.iter().map(point).collect())
    }
}

fn check_count(what: &'static str, given: &[f64], steps: usize) -> Result<(), DiffusionError> {
    if given.len() == steps {
        return Ok(());
    }
    Err(DiffusionError::GivenPoints { what, given: given.len(), steps })
}
