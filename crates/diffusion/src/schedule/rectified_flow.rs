use serde::{Deserialize, Serialize};

use super::curve::Curve;
use crate::{DiffusionError, Family};

/// Straight lines from data to noise, `z = (1 - sigma) x0 + sigma eps`, with
/// `sigma(t) = shift t / (1 + (shift - 1) t)` (rectified flow, Liu et al., 2022; flow matching,
/// Lipman et al., 2023; the shift from Esser et al., 2024).
///
/// `t = 0` is exactly data and `t = 1` exactly noise: the log-SNR,
/// `2 ln((1 - t) / (shift t))`, is infinite there. There is no clamp.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RectifiedFlow {
    /// Above 1: more time at high noise. From 0.001 to 1000. The same as the schedule's `scale`
    /// being `1 / shift`. Default: 1.
    pub shift: f64,
}

impl Default for RectifiedFlow {
    fn default() -> Self {
        Self { shift: 1.0 }
    }
}

impl RectifiedFlow {
    pub(super) fn check(self) -> Result<Self, DiffusionError> {
        if super::SCALE_RANGE.contains(&self.shift) {
            return Ok(self);
        }
        Err(DiffusionError::Setting {
            what: "the rectified flow schedule",
            setting: "shift",
            value: self.shift,
            requirement: "it must lie between 0.001 and 1000",
        })
    }
}

impl Curve for RectifiedFlow {
    fn log_snr(&self, t: f64) -> f64 {
        2.0 * ((1.0 - t) / (self.shift * t)).ln()
    }

    fn time_of(&self, log_snr: f64) -> f64 {
        1.0 / (1.0 + self.shift * (0.5 * log_snr).exp())
    }

    fn family(&self) -> Family {
        Family::RectifiedFlow
    }
}
