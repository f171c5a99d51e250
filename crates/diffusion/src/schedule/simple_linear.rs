use serde::{Deserialize, Serialize};

use super::curve::{Curve, log_snr_of};

/// `g(t) = 1 - t` (Chen, 2023). It has no parameters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimpleLinear {}

impl SimpleLinear {
    fn at(&self, t: f64) -> f64 {
        1.0 - t
    }
}

impl Curve for SimpleLinear {
    fn log_snr(&self, t: f64) -> f64 {
        log_snr_of(self.at(t))
    }
}
