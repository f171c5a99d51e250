use serde::{Deserialize, Serialize};

use super::curve::{Curve, log_snr_of};

/// `g(t) = exp(-10^-4 - 10 t^2)`, the continuous-time form of the linear betas of Ho et al. (2020).
/// It has no parameters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BetaLinear {}

impl BetaLinear {
    fn at(&self, t: f64) -> f64 {
        (-1e-4 - 10.0 * t * t).exp()
    }
}

impl Curve for BetaLinear {
    fn log_snr(&self, t: f64) -> f64 {
        log_snr_of(self.at(t))
    }
}
