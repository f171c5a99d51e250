use serde::{Deserialize, Serialize};

use super::NoisePoint;
use super::incomplete_beta::quantile;
use super::sigma::SigmaRange;
use crate::{DiffusionError, NoiseSchedule};

/// `sigma` at equally spaced quantiles, from the highest to the lowest, of a beta distribution over
/// the range of `sigma` (Lee et al., 2024, "Beta sampling is all you need").
///
/// Errors: [`DiffusionError::UnboundedNoise`] if an end is left to a schedule whose own is
/// infinite, and [`DiffusionError::Setting`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Beta {
    /// First parameter of the distribution, from 0.05 to 100; below 1 crowds the points at little
    /// noise. Default: 0.6.
    pub alpha: f64,
    /// Second parameter of the distribution, from 0.05 to 100; below 1 crowds the points at much
    /// noise. Default: 0.6.
    pub beta: f64,
    /// The smallest `sigma`, above 0. Default: that of the schedule at time 0.
    pub sigma_min: Option<f64>,
    /// The largest `sigma`, above `sigma_min`, for a flow at most 1. Default: that of the schedule
    /// at time 1.
    pub sigma_max: Option<f64>,
}

impl Default for Beta {
    fn default() -> Self {
        Self { alpha: 0.6, beta: 0.6, sigma_min: None, sigma_max: None }
    }
}

impl Beta {
    pub(super) fn points(
        &self,
        schedule: &NoiseSchedule,
        count: usize,
    ) -> Result<Vec<NoisePoint>, DiffusionError> {
        for (setting, value) in [("alpha", self.alpha), ("beta", self.beta)] {
            if !(0.05..=100.0).contains(&value) {
                let (what, requirement) = ("the beta spacing", "it must lie between 0.05 and 100");
                return Err(DiffusionError::Setting { what, setting, value, requirement });
            }
        }
        let range = SigmaRange::new("beta", schedule, self.sigma_min, self.sigma_max)?;
        let (min, max) = (range.min, range.max);
        let sigma = |part| min + quantile(1.0 - part, self.alpha, self.beta) * (max - min);
        Ok(range.points(count, sigma))
    }
}
