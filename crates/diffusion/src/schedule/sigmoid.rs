use serde::{Deserialize, Serialize};

use super::curve::{Curve, log_snr_of};
use crate::DiffusionError;

/// `g(t) = (E - s(u / tau)) / (E - S)` with `u = t (end - start) + start`, where `s` is the logistic
/// function and `S` and `E` are its values at `start / tau` and `end / tau` (Jabri et al., 2022).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sigmoid {
    /// Where on the logistic function `t = 0` lies. Default: -3.
    pub start: f64,
    /// Where on the logistic function `t = 1` lies, above `start`. Default: 3.
    pub end: f64,
    /// Temperature, above 0. Default: 1.
    pub tau: f64,
}

impl Default for Sigmoid {
    fn default() -> Self {
        Self { start: -3.0, end: 3.0, tau: 1.0 }
    }
}

impl Sigmoid {
    pub(super) fn check(self) -> Result<Self, DiffusionError> {
        let Self { start, end, tau } = self;
        let fall = self.logistic(end) - self.logistic(start);
        if start < end && tau > 0.0 && fall.is_normal() {
            return Ok(self);
        }
        Err(DiffusionError::Curve {
            schedule: "sigmoid",
            start,
            end,
            tau,
            requirement: "start < end and tau > 0 must hold, with start / tau and end / tau close \
                          enough to 0 for the logistic function not to be flat between them",
        })
    }

    fn at(&self, t: f64) -> f64 {
        let end = self.logistic(self.end);
        let here = self.logistic(t * (self.end - self.start) + self.start);
        (end - here) / (end - self.logistic(self.start))
    }

    fn logistic(&self, u: f64) -> f64 {
        1.0 / (1.0 + (-u / self.tau).exp())
    }
}

impl Curve for Sigmoid {
    fn log_snr(&self, t: f64) -> f64 {
        log_snr_of(self.at(t))
    }
}
