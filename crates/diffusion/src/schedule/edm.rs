use serde::{Deserialize, Serialize};

use super::curve::Curve;
use super::sigma_range::check_sigmas;
use crate::{DiffusionError, Family};

/// Variance exploding, with `sigma^(1 / rho)` linear in time (EDM, Karras et al., 2022, equation
/// 5).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Edm {
    /// `sigma` at `t = 0`, from 1e-6 to below `sigma_max`. Default: 0.002.
    pub sigma_min: f64,
    /// `sigma` at `t = 1`, at most 1e6. Default: 80.
    pub sigma_max: f64,
    /// How much of the time is spent at small noise, from 0.1 to 100; 1 makes `sigma` linear.
    /// Default: 7.
    pub rho: f64,
}

impl Default for Edm {
    fn default() -> Self {
        Self { sigma_min: 0.002, sigma_max: 80.0, rho: 7.0 }
    }
}

impl Edm {
    pub(super) fn check(self) -> Result<Self, DiffusionError> {
        check_sigmas("the edm schedule", self.sigma_min, self.sigma_max)?;
        if (0.1..=100.0).contains(&self.rho) {
            return Ok(self);
        }
        Err(DiffusionError::Setting {
            what: "the edm schedule",
            setting: "rho",
            value: self.rho,
            requirement: "it must lie between 0.1 and 100",
        })
    }

    /// `sigma^(1 / rho)` at both ends.
    fn roots(&self) -> (f64, f64) {
        (self.sigma_min.powf(1.0 / self.rho), self.sigma_max.powf(1.0 / self.rho))
    }
}

impl Curve for Edm {
    fn log_snr(&self, t: f64) -> f64 {
        let (min, max) = self.roots();
        -2.0 * self.rho * (min + t * (max - min)).ln()
    }

    fn time_of(&self, log_snr: f64) -> f64 {
        let (min, max) = self.roots();
        ((-0.5 * log_snr / self.rho).exp() - min) / (max - min)
    }

    fn family(&self) -> Family {
        Family::VarianceExploding
    }
}
