use serde::{Deserialize, Serialize};

use super::curve::Curve;
use super::sigma_range::check_sigmas;
use crate::{DiffusionError, Family};

/// Variance exploding, with `sigma(t) = sigma_min (sigma_max / sigma_min)^t`: `ln(sigma)` is linear
/// in time (Song et al., 2021).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Exponential {
    /// `sigma` at `t = 0`, from 1e-6 to below `sigma_max`. Default: 0.01.
    pub sigma_min: f64,
    /// `sigma` at `t = 1`, at most 1e6; about the largest distance between two data points.
    /// Default: 50.
    pub sigma_max: f64,
}

impl Default for Exponential {
    fn default() -> Self {
        Self { sigma_min: 0.01, sigma_max: 50.0 }
    }
}

impl Exponential {
    pub(super) fn check(self) -> Result<Self, DiffusionError> {
        check_sigmas("the exponential schedule", self.sigma_min, self.sigma_max)?;
        Ok(self)
    }
}

impl Curve for Exponential {
    fn log_snr(&self, t: f64) -> f64 {
        let (min, max) = (self.sigma_min.ln(), self.sigma_max.ln());
        -2.0 * (min + t * (max - min))
    }

    fn time_of(&self, log_snr: f64) -> f64 {
        let (min, max) = (self.sigma_min.ln(), self.sigma_max.ln());
        (-0.5 * log_snr - min) / (max - min)
    }

    fn family(&self) -> Family {
        Family::VarianceExploding
    }
}
