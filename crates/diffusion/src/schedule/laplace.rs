use serde::{Deserialize, Serialize};

use super::curve::{Curve, clamp};
use crate::DiffusionError;

/// A log-SNR whose distribution over uniform times is Laplace's: most times lie where signal and
/// noise are equally strong (Hang et al., 2024).
///
/// `log_snr(t) = mu - b sign(0.5 - t) ln(1 - 2 |t - 0.5|)`, clamped before `mu` is added.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Laplace {
    /// The log-SNR at `t = 0.5`, from -15 to 15. Default: 0.
    pub mu: f64,
    /// The width of the distribution, above 0. Default: 0.5.
    pub b: f64,
}

impl Default for Laplace {
    fn default() -> Self {
        Self { mu: 0.0, b: 0.5 }
    }
}

impl Laplace {
    pub(super) fn check(self) -> Result<Self, DiffusionError> {
        let wrong = |setting, value, requirement| {
            Err(DiffusionError::Setting {
                what: "the laplace schedule",
                setting,
                value,
                requirement,
            })
        };
        if !(-15.0..=15.0).contains(&self.mu) {
            return wrong("mu", self.mu, "it must lie between -15 and 15");
        }
        if !(self.b > 0.0 && self.b.is_finite()) {
            return wrong("b", self.b, "it must be a number above 0");
        }
        Ok(self)
    }
}

impl Curve for Laplace {
    fn log_snr(&self, t: f64) -> f64 {
        let distance = if t < 0.5 { -(2.0 * t).ln() } else { (2.0 * (1.0 - t)).ln() };
        clamp(self.b * distance) + self.mu
    }

    fn time_of(&self, log_snr: f64) -> f64 {
        let distance = (log_snr - self.mu) / self.b;
        let tail = 0.5 * (-distance.abs()).exp();
        if distance > 0.0 { tail } else { 1.0 - tail }
    }
}
