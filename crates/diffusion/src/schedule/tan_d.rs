use std::f64::consts::{FRAC_2_PI, FRAC_PI_2};

use serde::{Deserialize, Serialize};

use super::curve::{Curve, clamp};
use crate::DiffusionError;

/// `alpha(t) = 1 / (1 + d^2 tan(pi t / 2)^2)` (TEncDM, Shabalin et al., 2025): the cosine schedule
/// with its log-SNR shifted by `-2 ln d`, as in simple diffusion (Hoogeboom et al., 2023).
///
/// The clamp applies to the cosine, before this shift.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TanD {
    /// How much noisier than the cosine, from 0.001 to 1000; 1 is the cosine. Default: 9, which
    /// TEncDM uses for text.
    pub d: f64,
}

impl Default for TanD {
    fn default() -> Self {
        Self { d: 9.0 }
    }
}

impl TanD {
    pub(super) fn check(self) -> Result<Self, DiffusionError> {
        if super::SCALE_RANGE.contains(&self.d) {
            return Ok(self);
        }
        Err(DiffusionError::Setting {
            what: "the tan_d schedule",
            setting: "d",
            value: self.d,
            requirement: "it must lie between 0.001 and 1000",
        })
    }

    fn shift(&self) -> f64 {
        -2.0 * self.d.ln()
    }
}

impl Curve for TanD {
    fn log_snr(&self, t: f64) -> f64 {
        clamp(-2.0 * (t * FRAC_PI_2).tan().ln()) + self.shift()
    }

    fn time_of(&self, log_snr: f64) -> f64 {
        FRAC_2_PI * (-0.5 * (log_snr - self.shift())).exp().atan()
    }
}
