use serde::{Deserialize, Serialize};

use super::{NoisePoint, part};
use crate::{DiffusionError, NoiseSchedule};

/// The log-SNR in equal steps from the least to the greatest (DPM-Solver, Lu et al., 2022).
///
/// Errors: [`DiffusionError::UnboundedNoise`] if an end is left to a schedule whose own is
/// infinite, and [`DiffusionError::Setting`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UniformLogSnr {
    /// The log-SNR of the first point. Default: that of the schedule at time 1.
    pub log_snr_min: Option<f64>,
    /// The log-SNR of the last noisy point, above `log_snr_min`. Default: that of the schedule at
    /// time 0.
    pub log_snr_max: Option<f64>,
}

impl UniformLogSnr {
    pub(super) fn points(
        &self,
        schedule: &NoiseSchedule,
        count: usize,
    ) -> Result<Vec<NoisePoint>, DiffusionError> {
        let end = |setting, given: Option<f64>, time| {
            let value = given.unwrap_or_else(|| schedule.log_snr(time));
            match given {
                _ if value.is_finite() => Ok(value),
                None => Err(DiffusionError::UnboundedNoise { spacing: "uniform_log_snr", setting }),
                Some(_) => Err(DiffusionError::Setting {
                    what: "the uniform_log_snr spacing",
                    setting,
                    value,
                    requirement: "it must be finite",
                }),
            }
        };
        let min = end("log_snr_min", self.log_snr_min, 1.0)?;
        let max = end("log_snr_max", self.log_snr_max, 0.0)?;
        let log_snr = |index| min + part(index, count) * (max - min);
        Ok((0..count).map(|i| NoisePoint::at_log_snr(schedule, log_snr(i))).collect())
    }
}
