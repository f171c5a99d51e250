//! Noise schedules: how much signal is left at a time `t` in [0, 1].
//!
//! A schedule is a log-SNR, `ln(signal^2 / noise^2)`, that falls with time ([`ScheduleKind`]; one
//! file each), shifted by `2 ln(scale)`. The [`Family`] says which signal and noise belong to it.
//!
//! The variance-preserving base curves `g(t)` fall from 1 to 0; their log-SNR is clamped before the
//! shift (LD4LG, section on noise schedules):
//!
//! `alpha(t) = sigmoid(clamp(ln(g / (1 - g)), -15, 15) + 2 ln(scale))`
//!
//! so that their `alpha` is never exactly 0 or 1. `alpha` is the variance-scale quantity of
//! `z = sqrt(alpha) x0 + sqrt(1 - alpha) eps`. Tables, knots, variance exploding schedules and
//! rectified flows are not clamped: they have the ends that they are given.

mod adaptive;
mod beta_linear;
mod betas;
mod cosine;
pub(crate) mod curve;
mod edm;
mod exponential;
mod knots;
mod laplace;
mod piecewise;
mod rectified_flow;
mod sigma_range;
mod sigmoid;
mod simple_linear;
mod sqrt;
mod table;
mod tan_d;

use std::ops::RangeInclusive;
use std::sync::Arc;

use burn::tensor::{DType, Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

pub use adaptive::{AdaptiveSchedule, AdaptiveScheduleConfig};
pub use beta_linear::BetaLinear;
pub use betas::{Betas, LinearBetas, ScaledLinearBetas, SigmoidBetas, SquaredCosineBetas};
pub use cosine::Cosine;
pub use edm::Edm;
pub use exponential::Exponential;
pub use knots::Knots;
pub use laplace::Laplace;
pub use rectified_flow::RectifiedFlow;
pub use sigmoid::Sigmoid;
pub use simple_linear::SimpleLinear;
pub use sqrt::Sqrt;
pub use table::Table;
pub use tan_d::TanD;

use crate::{DiffusionError, Family, NoiseLevel};
use curve::Curve;

/// Allowed values of [`NoiseScheduleConfig::scale`]. Beyond them, f32 latents would hold nothing
/// but signal or nothing but noise at most times.
pub(crate) const SCALE_RANGE: RangeInclusive<f64> = 1e-3..=1e3;

/// Settings of a [`NoiseSchedule`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NoiseScheduleConfig {
    /// The curve. Default: [`Cosine`] with its own defaults.
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
    /// [`DiffusionError::Scale`], [`DiffusionError::Curve`] and [`DiffusionError::Setting`] for
    /// values out of range, [`DiffusionError::NotFalling`] for a table or knots that do not fall.
    pub fn init(&self) -> Result<NoiseSchedule, DiffusionError> {
        if !SCALE_RANGE.contains(&self.scale) {
            return Err(DiffusionError::Scale { scale: self.scale });
        }
        let curve = self.kind.curve()?;
        Ok(NoiseSchedule { kind: self.kind.clone(), curve, shift: 2.0 * self.scale.ln() })
    }
}

/// The curve of a schedule, written in settings as `{ name = "cosine" }` with the curve's own
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
    /// Noise that comes fast at first (Diffusion-LM).
    Sqrt(Sqrt),
    /// A cosine with a shifted log-SNR (TEncDM).
    TanD(TanD),
    /// Most times at a medium log-SNR.
    Laplace(Laplace),
    /// Discrete betas.
    Table(Table),
    /// Variance exploding as in EDM.
    Edm(Edm),
    /// Variance exploding with a geometric `sigma`.
    Exponential(Exponential),
    /// Straight lines from data to noise.
    RectifiedFlow(RectifiedFlow),
    /// A line through given log-SNRs, such as a learnt schedule.
    Knots(Knots),
}

impl Default for ScheduleKind {
    fn default() -> Self {
        Self::Cosine(Cosine::default())
    }
}

impl ScheduleKind {
    fn curve(&self) -> Result<Arc<dyn Curve>, DiffusionError> {
        Ok(match self {
            Self::Cosine(curve) => Arc::new(curve.check()?),
            Self::SimpleLinear(curve) => Arc::new(*curve),
            Self::BetaLinear(curve) => Arc::new(*curve),
            Self::Sigmoid(curve) => Arc::new(curve.check()?),
            Self::Sqrt(curve) => Arc::new(curve.check()?),
            Self::TanD(curve) => Arc::new(curve.check()?),
            Self::Laplace(curve) => Arc::new(curve.check()?),
            Self::Table(table) => Arc::new(table.entries()?),
            Self::Edm(curve) => Arc::new(curve.check()?),
            Self::Exponential(curve) => Arc::new(curve.check()?),
            Self::RectifiedFlow(curve) => Arc::new(curve.check()?),
            Self::Knots(knots) => Arc::new(knots.line()?),
        })
    }
}

/// A noise schedule in continuous time, computed on the host in f64.
///
/// Times run from 0 (data) to 1 (noise); a time outside counts as the nearer end.
#[derive(Debug, Clone)]
pub struct NoiseSchedule {
    kind: ScheduleKind,
    curve: Arc<dyn Curve>,
    shift: f64,
}

impl PartialEq for NoiseSchedule {
    /// Whether both were made from the same settings.
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.shift == other.shift
    }
}

impl NoiseSchedule {
    /// The noise level at time `t`.
    pub fn level(&self, t: f64) -> NoiseLevel {
        NoiseLevel::new(self.family(), self.log_snr(t))
    }

    /// `alpha` at time `t`, in [0, 1]: the ends only where the log-SNR is infinite.
    pub fn alpha(&self, t: f64) -> f64 {
        self.level(t).alpha()
    }

    /// `ln(alpha / (1 - alpha)) = ln(signal^2 / noise^2)` at time `t`: falling, and within
    /// `+-15 + 2 ln(scale)` for the clamped curves.
    ///
    /// Plus infinity at time 0 of a rectified flow, minus infinity at time 1 of a rectified flow or
    /// of a table with zero terminal SNR, finite elsewhere.
    pub fn log_snr(&self, t: f64) -> f64 {
        self.curve.log_snr(t.clamp(0.0, 1.0)) + self.shift
    }

    /// The time of a log-SNR: the inverse of [`log_snr`](Self::log_snr), to about 1e-12. A log-SNR
    /// beyond the schedule's ends has the time of the nearer end, 0 or 1, and so have those ends
    /// where a clamp makes the schedule flat.
    pub fn time_of(&self, log_snr: f64) -> f64 {
        if log_snr >= self.log_snr(0.0) {
            return 0.0;
        }
        if log_snr <= self.log_snr(1.0) {
            return 1.0;
        }
        self.curve.time_of(log_snr - self.shift).clamp(0.0, 1.0)
    }

    /// How signal and noise follow from the log-SNR.
    pub fn family(&self) -> Family {
        self.curve.family()
    }

    /// The number of entries of a discrete table ([`Table`]), whose entry `index` lies at the time
    /// `index / (len - 1)`; `None` for the schedules in continuous time.
    pub fn table_len(&self) -> Option<usize> {
        self.curve.table_len()
    }

    /// `alpha` at the time of every sample, f32, of shape `[batch]`: computed on the host, then
    /// moved to `device`.
    pub fn alphas(&self, t: &[f64], device: &Device) -> Tensor<1> {
        let alphas: Vec<f32> = t.iter().map(|&t| self.alpha(t) as f32).collect();
        Tensor::from_data(TensorData::new(alphas, [t.len()]), (device, DType::F32))
    }
}
