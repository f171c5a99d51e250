use std::f64::consts::SQRT_2;

use serde::{Deserialize, Serialize};

use super::check_at_least_zero;
use crate::{DiffusionError, NoiseLevel};

/// EDM's churn (Karras et al., 2022, algorithm 2): before a step, noise is added so that `sigma` grows
/// to `sigma (1 + gamma)`, where `gamma = min(amount / steps, sqrt(2) - 1)`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Churn {
    /// `S_churn`, at least 0. Default: 0, no churn.
    pub amount: f64,
    /// `S_min`: no churn at a smaller `sigma`. Default: 0.
    pub sigma_min: f64,
    /// `S_max`: no churn at a larger `sigma`. Default: none.
    pub sigma_max: Option<f64>,
    /// `S_noise`, factor of the added noise, at least 0. Default: 1.
    pub noise_scale: f64,
}

impl Default for Churn {
    fn default() -> Self {
        Self { amount: 0.0, sigma_min: 0.0, sigma_max: None, noise_scale: 1.0 }
    }
}

/// The level that churn raises a step's start to; `z` there is `scale z + noise n`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Churned {
    pub(super) level: NoiseLevel,
    pub(super) scale: f64,
    pub(super) noise: f64,
}

impl Churn {
    pub(super) fn check(&self) -> Result<(), DiffusionError> {
        check_at_least_zero("churn.amount", self.amount)?;
        check_at_least_zero("churn.noise_scale", self.noise_scale)
    }

    /// The raised level, or `None` where there is no churn.
    pub(super) fn raise(&self, level: NoiseLevel, steps: usize) -> Option<Churned> {
        let sigma = level.sigma();
        let largest = self.sigma_max.unwrap_or(f64::INFINITY);
        let gamma = (self.amount / steps as f64).min(SQRT_2 - 1.0);
        if gamma <= 0.0 || !(self.sigma_min..=largest).contains(&sigma) || sigma.is_infinite() {
            return None;
        }
        let raised = level.with_sigma(sigma * (1.0 + gamma));
        let added = sigma * (gamma * (2.0 + gamma)).sqrt() * self.noise_scale;
        Some(Churned {
            level: raised,
            scale: raised.signal() / level.signal(),
            noise: raised.signal() * added,
        })
    }
}
