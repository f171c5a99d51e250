use std::f64::consts::FRAC_PI_2;

use serde::{Deserialize, Serialize};

use super::curve::{Curve, log_snr_of};
use crate::DiffusionError;

/// `g(t) = (E - cos(u pi / 2)^(2 tau)) / (E - S)` with `u = t (end - start) + start`, where `S` and
/// `E` are the power of the cosine at `start` and `end` (Chen, 2023). With the default parameters
/// this is `cos(t pi / 2)^2` (Nichol and Dhariwal, 2021).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cosine {
    /// Where on the quarter wave `t = 0` lies, at least 0. Default: 0.
    pub start: f64,
    /// Where on the quarter wave `t = 1` lies, above `start` and at most 1. Default: 1.
    pub end: f64,
    /// Half the power of the cosine, above 0. Default: 1.
    pub tau: f64,
}

impl Default for Cosine {
    fn default() -> Self {
        Self { start: 0.0, end: 1.0, tau: 1.0 }
    }
}

impl Cosine {
    pub(super) fn check(self) -> Result<Self, DiffusionError> {
        let Self { start, end, tau } = self;
        let ordered = 0.0 <= start && start < end && end <= 1.0 && tau > 0.0;
        let fall = self.power(start) - self.power(end);
        if ordered && fall.is_normal() {
            return Ok(self);
        }
        Err(DiffusionError::Curve {
            schedule: "cosine",
            start,
            end,
            tau,
            requirement: "0 <= start < end <= 1 and tau > 0 must hold, with a tau small enough \
                          for the curve not to vanish",
        })
    }

    fn at(&self, t: f64) -> f64 {
        let end = self.power(self.end);
        let here = self.power(t * (self.end - self.start) + self.start);
        (end - here) / (end - self.power(self.start))
    }

    fn power(&self, u: f64) -> f64 {
        (u * FRAC_PI_2).cos().powf(2.0 * self.tau)
    }
}

impl Curve for Cosine {
    fn log_snr(&self, t: f64) -> f64 {
        log_snr_of(self.at(t))
    }
}
