use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::curve::Curve;
use super::piecewise::Piecewise;
use crate::{DiffusionError, Family};

/// Beyond these log-SNRs, the factors of `z` leave what f32 can hold.
pub(super) const KNOTS: RangeInclusive<f64> = -80.0..=80.0;

/// A log-SNR given by its values at equally spaced times and linear between them, such as the
/// schedule that [`AdaptiveSchedule`](super::AdaptiveSchedule) learns. There is no clamp.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Knots {
    /// The log-SNRs from `t = 0` (data) to `t = 1` (noise): at least 2, strictly falling, between
    /// -80 and 80.
    pub log_snrs: Vec<f64>,
    /// How the factors follow from the log-SNR. Default: variance preserving.
    #[serde(default)]
    pub family: Family,
}

impl Knots {
    pub(super) fn line(&self) -> Result<KnotLine, DiffusionError> {
        if let Some(&value) = self.log_snrs.iter().find(|knot| !KNOTS.contains(*knot)) {
            return Err(DiffusionError::Setting {
                what: "the knots schedule",
                setting: "log_snrs",
                value,
                requirement: "every log-SNR must lie between -80 and 80",
            });
        }
        let line = Piecewise::new("knots", self.log_snrs.clone())?;
        Ok(KnotLine { line, family: self.family })
    }
}

#[derive(Debug)]
pub(super) struct KnotLine {
    line: Piecewise,
    family: Family,
}

impl Curve for KnotLine {
    fn log_snr(&self, t: f64) -> f64 {
        self.line.at(t)
    }

    fn time_of(&self, log_snr: f64) -> f64 {
        self.line.time_of(log_snr)
    }

    fn family(&self) -> Family {
        self.family
    }
}
