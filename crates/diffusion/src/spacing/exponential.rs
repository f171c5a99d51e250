use serde::{Deserialize, Serialize};

use super::NoisePoint;
use super::sigma::SigmaRange;
use crate::{DiffusionError, NoiseSchedule};

/// `ln(sigma)` in equal steps from the largest to the smallest `sigma` (the exponential schedule of
/// `k-diffusion`).
///
/// Errors: [`DiffusionError::UnboundedNoise`] if an end is left to a schedule whose own is
/// infinite, and [`DiffusionError::Setting`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Exponential {
    /// The smallest `sigma`, above 0. Default: that of the schedule at time 0.
    pub sigma_min: Option<f64>,
    /// The largest `sigma`, above `sigma_min`, for a flow at most 1. Default: that of the schedule
    /// at time 1.
    pub sigma_max: Option<f64>,
}

impl Exponential {
    pub(super) fn points(
        &self,
        schedule: &NoiseSchedule,
        count: usize,
    ) -> Result<Vec<NoisePoint>, DiffusionError> {
        let range = SigmaRange::new("exponential", schedule, self.sigma_min, self.sigma_max)?;
        let (max, min) = (range.max.ln(), range.min.ln());
        Ok(range.points(count, |part| (max + part * (min - max)).exp()))
    }
}
