use serde::{Deserialize, Serialize};

use super::NoisePoint;
use super::sigma::SigmaRange;
use crate::{DiffusionError, NoiseSchedule};

/// `sigma^(1 / rho)` in equal steps from the largest to the smallest `sigma` (EDM, Karras et al.,
/// 2022, equation 5).
///
/// Errors: [`DiffusionError::UnboundedNoise`] if an end is left to a schedule whose own is
/// infinite, and [`DiffusionError::Setting`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Karras {
    /// How much the points crowd at small noise, from 0.1 to 100. Default: 7.
    pub rho: f64,
    /// The smallest `sigma`, above 0. Default: that of the schedule at time 0.
    pub sigma_min: Option<f64>,
    /// The largest `sigma`, above `sigma_min`, for a flow at most 1. Default: that of the schedule
    /// at time 1.
    pub sigma_max: Option<f64>,
}

impl Default for Karras {
    fn default() -> Self {
        Self { rho: 7.0, sigma_min: None, sigma_max: None }
    }
}

impl Karras {
    pub(super) fn points(
        &self,
        schedule: &NoiseSchedule,
        count: usize,
    ) -> Result<Vec<NoisePoint>, DiffusionError> {
        if !(0.1..=100.0).contains(&self.rho) {
            return Err(DiffusionError::Setting {
                what: "the karras spacing",
                setting: "rho",
                value: self.rho,
                requirement: "it must lie between 0.1 and 100",
            });
        }
        let range = SigmaRange::new("karras", schedule, self.sigma_min, self.sigma_max)?;
        let (max, min) = (range.max.powf(1.0 / self.rho), range.min.powf(1.0 / self.rho));
        Ok(range.points(count, |part| (max + part * (min - max)).powf(self.rho)))
    }
}
