//! Noise schedules: how much signal is left at a time `t` in [0, 1].
//!
//! A schedule is a base curve `g(t)` that falls from 1 to 0 ([`ScheduleKind`]; one file each), whose
//! log-SNR is clamped and then shifted (LD4LG, section on noise schedules):
//!
//! `alpha(t) = sigmoid(clamp(ln(g / (1 - g)), -15, 15) + 2 ln(scale))`
//!
//! so that `alpha` is never exactly 0 or 1. `alpha` is the variance-scale quantity of
//! `z = sqrt(alpha) x0 + sqrt(1 - alpha) eps`.

mod beta_linear;
mod cosine;
mod sigmoid;
mod simple_linear;

use std::ops::RangeInclusive;

use burn::tensor::{DType, Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

pub use beta_linear::BetaLinear;
pub use cosine::Cosine;
pub use sigmoid::Sigmoid;
pub use simple_linear::SimpleLinear;

use crate::{DiffusionError, NoiseLevel};

/// The log-SNR of the base curve is clamped to +- this value.
const LARGEST_LOG_SNR: f64 = 15.0;

/// Allowed values of [`NoiseScheduleConfig::scale`]. Beyond them, f32 latents would hold nothing
/// but signal or nothing but noise at most times.
pub(crate) const SCALE_RANGE: RangeInclusive<f64> = 1e-3..=1e3;

/// Settings of a [`NoiseSchedule`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NoiseScheduleConfig {
    /// The base curve. Default: [`Cosine`] with its own defaults.
    pub kind: ScheduleKind,
    /// Factor on the signal-to-noise ratio's square root: the log-SNR is shifted by `2 ln(scale)`.
    /// Below 1 means more noise. Between 0.001 and 1000. Default: 1 (LD4LG uses 0.1 for
    /// translation).
    pub scale: f64,
}

impl Default for NoiseScheduleConfig {
    fn default() -> Self {
        Self { kind: ScheduleKind::default(), scale: 1.0 }
    }
}

impl NoiseScheduleConfig {
    /// Checks the settings and makes the schedule.
    ///
    /// # Errors
    /// [`DiffusionError::Scale`] and [`DiffusionError::Curve`] for values out of range.
    pub fn init(&self) -> Result<NoiseSchedule, DiffusionError> {
        if !SCALE_RANGE.contains(&self.scale) {
            return Err(DiffusionError::Scale { scale: self.scale });
        }
        self.kind.check()?;
        Ok(NoiseSchedule { kind: self.kind.clone(), shift: 2.0 * self.scale.ln() })
    }
}

/// The base curve of a schedule, written in settings as `{ name = "cosine" }` with the curve's own
/// parameters beside `name`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ScheduleKind {
    /// A power of a cosine.
    Cosine(Cosine),
    /// A straight line.
    SimpleLinear(SimpleLinear),
    /// What linearly growing betas give in continuous time.
    BetaLinear(BetaLinear),
    /// A piece of the logistic function.
    Sigmoid(Sigmoid),
}

impl Default for ScheduleKind {
    fn default() -> Self {
        Self::Cosine(Cosine::default())
    }
}

impl ScheduleKind {
    fn check(&self) -> Result<(), DiffusionError> {
        match self {
            Self::Cosine(curve) => curve.check(),
            Self::Sigmoid(curve) => curve.check(),
            Self::SimpleLinear(_) | Self::BetaLinear(_) => Ok(()),
        }
    }

    /// `g(t)`: 1 is all signal, 0 all noise.
    fn at(&self, t: f64) -> f64 {
        match self {
            Self::Cosine(curve) => curve.at(t),
            Self::SimpleLinear(curve) => curve.at(t),
            Self::BetaLinear(curve) => curve.at(t),
            Self::Sigmoid(curve) => curve.at(t),
        }
    }
}

/// A noise schedule in continuous time, computed on the host in f64.
///
/// Times run from 0 (data) to 1 (noise); a time outside counts as the nearer end.
#[derive(Debug, Clone, PartialEq)]
pub struct NoiseSchedule {
    kind: ScheduleKind,
    shift: f64,
}

impl NoiseSchedule {
    /// The noise level at time `t`.
    pub fn level(&self, t: f64) -> NoiseLevel {
        let g = self.kind.at(t.clamp(0.0, 1.0)).clamp(0.0, 1.0);
        let log_snr = (g / (1.0 - g)).ln();
        NoiseLevel::from_log_snr(log_snr.clamp(-LARGEST_LOG_SNR, LARGEST_LOG_SNR) + self.shift)
    }

    /// `alpha` at time `t`, strictly between 0 and 1.
    pub fn alpha(&self, t: f64) -> f64 {
        self.level(t).alpha()
    }

    /// `ln(alpha / (1 - alpha))` at time `t`: falling, and within `+-15 + 2 ln(scale)`.
    pub fn log_snr(&self, t: f64) -> f64 {
        self.level(t).log_snr()
    }

    /// `alpha` at the time of every sample, f32, of shape `[batch]`: computed on the host, then
    /// moved to `device`.
    pub fn alphas(&self, t: &[f64], device: &Device) -> Tensor<1> {
        let alphas: Vec<f32> = t.iter().map(|&t| self.alpha(t) as f32).collect();
        Tensor::from_data(TensorData::new(alphas, [t.len()]), (device, DType::F32))
    }
}
