use std::f64::consts::FRAC_PI_2;

use serde::{Deserialize, Serialize};

use crate::DiffusionError;

/// The betas of a [`Table`](super::Table): `beta = 1 - alpha_bar / alpha_bar_before`, the share of
/// the variance that one discrete step replaces by noise.
///
/// Written in settings as `{ name = "linear" }` with its parameters beside `name`; the formulas are
/// those of the `diffusers` library.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Betas {
    /// Uniform betas from `start` to `end`.
    Linear(LinearBetas),
    /// Betas with uniform square roots.
    ScaledLinear(ScaledLinearBetas),
    /// Betas of a squared cosine.
    SquaredCosine(SquaredCosineBetas),
    /// Betas along a logistic function.
    Sigmoid(SigmoidBetas),
}

impl Default for Betas {
    fn default() -> Self {
        Self::Linear(LinearBetas::default())
    }
}

impl Betas {
    /// `len` betas (at least 2), all strictly between 0 and 1.
    pub(super) fn values(&self, len: usize) -> Result<Vec<f64>, DiffusionError> {
        self.check()?;
        let beta = |index| match self {
            Self::Linear(betas) => betas.at(index, len),
            Self::ScaledLinear(betas) => betas.at(index, len),
            Self::SquaredCosine(betas) => betas.at(index, len),
            Self::Sigmoid(betas) => betas.at(index, len),
        };
        Ok((0..len).map(beta).collect())
    }

    fn check(&self) -> Result<(), DiffusionError> {
        match *self {
            Self::Linear(LinearBetas { start, end })
            | Self::ScaledLinear(ScaledLinearBetas { start, end })
            | Self::Sigmoid(SigmoidBetas { start, end }) => {
                check_beta("start", start)?;
                check_beta("end", end)
            }
            Self::SquaredCosine(SquaredCosineBetas { s, max_beta }) => {
                check_beta("max_beta", max_beta)?;
                if (0.0..=1.0).contains(&s) {
                    return Ok(());
                }
                Err(DiffusionError::Setting {
                    what: "the table schedule's squared cosine betas",
                    setting: "s",
                    value: s,
                    requirement: "it must lie between 0 and 1",
                })
            }
        }
    }
}

fn check_beta(setting: &'static str, value: f64) -> Result<(), DiffusionError> {
    if value > 0.0 && value < 1.0 {
        return Ok(());
    }
    Err(DiffusionError::Setting {
        what: "the table schedule's betas",
        setting,
        value,
        requirement: "every beta must lie strictly between 0 and 1",
    })
}

/// From `start` to `end` in equal steps (DDPM, Ho et al., 2020).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinearBetas {
    /// The first beta, between 0 and 1. Default: 0.0001.
    pub start: f64,
    /// The last beta, between 0 and 1. Default: 0.02.
    pub end: f64,
}

impl Default for LinearBetas {
    fn default() -> Self {
        Self { start: 1e-4, end: 0.02 }
    }
}

impl LinearBetas {
    fn at(&self, index: usize, len: usize) -> f64 {
        between(self.start, self.end, index, len)
    }
}

/// Squares of equal steps from `sqrt(start)` to `sqrt(end)` (latent diffusion, Rombach et al.,
/// 2022).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScaledLinearBetas {
    /// The first beta, between 0 and 1. Default: 0.00085.
    pub start: f64,
    /// The last beta, between 0 and 1. Default: 0.012.
    pub end: f64,
}

impl Default for ScaledLinearBetas {
    fn default() -> Self {
        Self { start: 0.00085, end: 0.012 }
    }
}

impl ScaledLinearBetas {
    fn at(&self, index: usize, len: usize) -> f64 {
        between(self.start.sqrt(), self.end.sqrt(), index, len).powi(2)
    }
}

/// The betas of `alpha_bar(u) = cos((u + s) / (1 + s) pi / 2)^2` over equal parts of [0, 1], none
/// above `max_beta` (Nichol and Dhariwal, 2021).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SquaredCosineBetas {
    /// Offset that keeps the first betas from vanishing, from 0 to 1. Default: 0.008.
    pub s: f64,
    /// The largest beta, between 0 and 1. Default: 0.999.
    pub max_beta: f64,
}

impl Default for SquaredCosineBetas {
    fn default() -> Self {
        Self { s: 0.008, max_beta: 0.999 }
    }
}

impl SquaredCosineBetas {
    fn at(&self, index: usize, len: usize) -> f64 {
        let angle = |index| (index as f64 / len as f64 + self.s) / (1.0 + self.s) * FRAC_PI_2;
        let (from, to) = (angle(index), angle(index + 1));
        // 1 - cos(to)^2 / cos(from)^2 without the cancellation.
        let beta = (to - from).sin() * (to + from).sin() / from.cos().powi(2);
        beta.min(self.max_beta)
    }
}

/// `start + (end - start) logistic(u)` with `u` in equal steps from -6 to 6 (GeoDiff, Xu et al.,
/// 2022).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SigmoidBetas {
    /// The lower level, between 0 and 1. Default: 0.0001.
    pub start: f64,
    /// The upper level, between 0 and 1. Default: 0.02.
    pub end: f64,
}

impl Default for SigmoidBetas {
    fn default() -> Self {
        Self { start: 1e-4, end: 0.02 }
    }
}

impl SigmoidBetas {
    fn at(&self, index: usize, len: usize) -> f64 {
        let u: f64 = between(-6.0, 6.0, index, len);
        self.start + (self.end - self.start) / (1.0 + (-u).exp())
    }
}

/// The value number `index` of `len` from `start` to `end` in equal steps.
fn between(start: f64, end: f64, index: usize, len: usize) -> f64 {
    start + (end - start) * (index as f64 / (len - 1) as f64)
}
