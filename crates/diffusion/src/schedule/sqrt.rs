use serde::{Deserialize, Serialize};

use super::curve::{Curve, log_snr_of};
use crate::DiffusionError;

/// `g(t) = 1 - sqrt(t + s (1 - t))`: noise that comes fast at first, for embeddings of words that a
/// little noise does not change (Diffusion-LM, Li et al., 2022).
///
/// The paper's `1 - sqrt(t + s)` would fall below 0 at the end; the factor on `s` makes it end at 0
/// and changes it by less than `s` elsewhere. It starts at `1 - sqrt(s)`, a noise of standard
/// deviation 0.1 by default.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sqrt {
    /// The fourth power of the noise's standard deviation at `t = 0`, from 0 to below 1.
    /// Default: 0.0001.
    pub s: f64,
}

impl Default for Sqrt {
    fn default() -> Self {
        Self { s: 1e-4 }
    }
}

impl Sqrt {
    pub(super) fn check(self) -> Result<Self, DiffusionError> {
        if (0.0..1.0).contains(&self.s) {
            return Ok(self);
        }
        Err(DiffusionError::Setting {
            what: "the sqrt schedule",
            setting: "s",
            value: self.s,
            requirement: "it must be at least 0 and below 1",
        })
    }
}

impl Curve for Sqrt {
    fn log_snr(&self, t: f64) -> f64 {
        log_snr_of(1.0 - (t + self.s * (1.0 - t)).sqrt())
    }
}
