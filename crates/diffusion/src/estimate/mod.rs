//! Corrections of the estimate of the clean data, made after the conversion from the network's
//! output and before the noise is computed anew from the estimate.

mod norm_rescale;
mod quantile;
mod threshold;

use burn::tensor::{FloatDType, Tensor};
use serde::{Deserialize, Serialize};

pub use norm_rescale::rescale_norm;

use crate::DiffusionError;
use crate::checks::require;

/// What is done to every estimate `x0` of the clean data before a sampler uses it, written in
/// settings as `{ name = "norm_rescale" }` with the correction's own settings beside `name`.
///
/// A sampler recomputes its estimate of the noise from the corrected `x0`, as in LD4LG and in
/// Imagen, so that the two still add up to `z`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum X0Correction {
    /// Every vector along the last dimension is brought to the norm `sqrt(dim)`, see
    /// [`rescale_norm`] (LD4LG, appendix): for l2-normalised latents.
    NormRescale,
    /// Dynamic thresholding (Saharia et al., 2022, Imagen, section 2.3): with `s` the quantile of a
    /// sample's `|x0|`, kept between `limit` and `max`, the sample is clamped to `[-s, s]` and
    /// divided by `s / limit`. Large guidance scales then do not push data against its limit.
    DynamicThreshold {
        /// Which quantile of a sample's absolute values becomes the threshold, in [0, 1], with linear
        /// interpolation between values. Default: 0.995, as in the paper's code and `diffusers`.
        #[serde(default = "default_quantile")]
        quantile: f64,
        /// The largest absolute value of clean data, above 0. Default: 1 (images in [-1, 1]).
        #[serde(default = "default_limit")]
        limit: f64,
        /// The largest threshold, at least `limit` (`sample_max_value` of `diffusers`). Default:
        /// none, as in the paper.
        #[serde(default)]
        max: Option<f64>,
    },
    /// Every value is clamped to `[-limit, limit]` (Ho et al., 2020).
    Clamp {
        /// The largest absolute value of clean data, above 0. Default: 1.
        #[serde(default = "default_limit")]
        limit: f64,
    },
}

fn default_quantile() -> f64 {
    0.995
}

fn default_limit() -> f64 {
    1.0
}

impl X0Correction {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] for a quantile outside [0, 1], a `limit` that is not above 0, a
    /// `max` below `limit`, or one that is not a finite number.
    pub fn check(&self) -> Result<(), DiffusionError> {
        match *self {
            Self::NormRescale => Ok(()),
            Self::DynamicThreshold { quantile, limit, max } => {
                const WHAT: &str = "dynamic thresholding";
                let in_range = (0.0..=1.0).contains(&quantile);
                require(in_range, WHAT, "quantile", quantile, "it must lie between 0 and 1")?;
                check_limit(WHAT, limit)?;
                let max = max.unwrap_or(limit);
                let holds = max.is_finite() && max >= limit;
                require(holds, WHAT, "max", max, "it must be a finite number and at least `limit`")
            }
            Self::Clamp { limit } => check_limit("the clamp of x0", limit),
        }
    }

    /// The corrected estimate, f32, of the same shape `[batch, ..]`. Samples do not influence each
    /// other, and nothing waits for the device.
    ///
    /// The settings are taken to have passed [`check`](Self::check).
    pub fn apply<const D: usize>(&self, x0: Tensor<D>) -> Tensor<D> {
        let x0 = x0.cast(FloatDType::F32);
        if x0.dims().contains(&0) {
            return x0;
        }
        match *self {
            Self::NormRescale => rescale_norm(x0),
            Self::DynamicThreshold { quantile, limit, max } => {
                threshold::dynamic_threshold(x0, quantile, limit, max)
            }
            Self::Clamp { limit } => x0.clamp(-limit, limit),
        }
    }
}

fn check_limit(what: &'static str, limit: f64) -> Result<(), DiffusionError> {
    let holds = limit.is_finite() && limit > 0.0;
    require(holds, what, "limit", limit, "it must be a finite number above 0")
}
