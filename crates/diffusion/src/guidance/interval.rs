use burn::tensor::{FloatDType, Tensor};
use serde::{Deserialize, Serialize};

use super::{Guidance, GuidanceContext, GuidancePair, GuidanceState};
use crate::checks::require;
use crate::{DiffusionError, NoiseLevel};

const NAME: &str = "the guidance interval";

/// Guidance in a limited interval of noise levels (Kynkäänniemi et al., 2024, "Applying Guidance in
/// a Limited Interval Improves Sample and Distribution Quality in Diffusion Models"): inside it the
/// inner guidance, outside it the conditional prediction alone, which needs one pass only.
///
/// Outside the interval the state stays as it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval<G> {
    /// The guidance inside the interval.
    pub inner: G,
    /// Where the guidance acts.
    pub levels: NoiseInterval,
}

/// An interval of noise levels, written in settings as `{ sigma = { above = 0.28, up_to = 5.4 } }` or
/// `{ log_snr = { from = -3.4, below = 2.5 } }`. A bound that is left out does not bound.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum NoiseInterval {
    /// `above < sigma <= up_to`, with `sigma = noise / signal`, as in the paper.
    Sigma {
        /// The lower end, excluded, at least 0. Default: none.
        #[serde(default)]
        above: Option<f64>,
        /// The upper end, included, more than `above`. Default: none.
        #[serde(default)]
        up_to: Option<f64>,
    },
    /// `from <= log_snr < below`, with `log_snr = ln(signal^2 / noise^2)`, the natural logarithm.
    LogSnr {
        /// The lower end (more noise), included. Default: none.
        #[serde(default)]
        from: Option<f64>,
        /// The upper end (less noise), excluded, more than `from`. Default: none.
        #[serde(default)]
        below: Option<f64>,
    },
}

impl NoiseInterval {
    /// Whether the level lies in the interval.
    pub fn contains(&self, level: NoiseLevel) -> bool {
        match *self {
            Self::Sigma { above, up_to } => {
                above.is_none_or(|above| above < level.sigma())
                    && up_to.is_none_or(|up_to| level.sigma() <= up_to)
            }
            Self::LogSnr { from, below } => {
                from.is_none_or(|from| from <= level.log_snr())
                    && below.is_none_or(|below| level.log_snr() < below)
            }
        }
    }

    /// Checks the bounds.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] for a bound that is not a finite number, a `sigma` below 0, and an
    /// interval that contains nothing.
    pub fn check(&self) -> Result<(), DiffusionError> {
        match *self {
            Self::Sigma { above, up_to } => {
                for (setting, sigma) in [("above", above), ("up_to", up_to)] {
                    let sigma = sigma.unwrap_or(0.0);
                    let holds = sigma.is_finite() && sigma >= 0.0;
                    require(holds, NAME, setting, sigma, "sigma must be finite and at least 0")?;
                }
                check_order("up_to", above.or(Some(0.0)), up_to, "it must be more than `above`")
            }
            Self::LogSnr { from, below } => {
                for (setting, log_snr) in [("from", from), ("below", below)] {
                    let log_snr = log_snr.unwrap_or(0.0);
                    require(log_snr.is_finite(), NAME, setting, log_snr, "it must be finite")?;
                }
                check_order("below", from, below, "it must be more than `from`")
            }
        }
    }
}

fn check_order(
    setting: &'static str,
    low: Option<f64>,
    high: Option<f64>,
    requirement: &'static str,
) -> Result<(), DiffusionError> {
    match (low, high) {
        (Some(low), Some(high)) => require(high > low, NAME, setting, high, requirement),
        _ => Ok(()),
    }
}

impl<const D: usize, G: Guidance<D>> Guidance<D> for Interval<G> {
    fn check(&self) -> Result<(), DiffusionError> {
        self.levels.check()?;
        self.inner.check()
    }

    fn needs_unconditional(&self, level: NoiseLevel, step: usize) -> bool {
        self.levels.contains(level) && self.inner.needs_unconditional(level, step)
    }

    fn combine(
        &self,
        predictions: GuidancePair<D>,
        at: &GuidanceContext<D>,
        state: GuidanceState<D>,
    ) -> Result<(Tensor<D>, GuidanceState<D>), DiffusionError> {
        match self.levels.contains(at.level) {
            true => self.inner.combine(predictions, at, state),
            false => Ok((predictions.conditional.cast(FloatDType::F32), state)),
        }
    }
}
