use serde::{Deserialize, Serialize};

use super::churn::Churn;
use super::euler::{euler, with_churn};
use super::{Sampler, Stage, Stages, Update};
use crate::{DiffusionError, Family, NoisePoint};

/// Heun's method for the probability flow over `sigma` (Karras et al., 2022, algorithms 1 and 2), with
/// churn if asked for: an Euler step, a second network call where it ends, and the step again with the
/// mean of both slopes. It reaches the second order with two calls a step; the step that ends at the
/// data has one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Heun {
    /// Noise that is added before each step. Default: none.
    pub churn: Churn,
}

impl Sampler for Heun {
    fn stages(&self, points: &[NoisePoint]) -> Result<Stages, DiffusionError> {
        self.churn.check()?;
        let steps = points.windows(2).map(|pair| {
            let churned = self.churn.raise(pair[0].level, points.len() - 1);
            let sigma = churned.map_or(pair[0].level, |churned| churned.level).sigma();
            heun_step(pair, |to| over_sigma(sigma, to))
        });
        Ok(with_churn(&self.churn, points, steps))
    }
}

/// Heun's method for a straight flow, over time (Lipman et al., 2022): as [`Heun`], with the slope
/// `eps - x0` of `z` itself. For processes of [`Family::RectifiedFlow`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowHeun {}

impl Sampler for FlowHeun {
    fn stages(&self, points: &[NoisePoint]) -> Result<Stages, DiffusionError> {
        if points
            .iter()
            .any(|point| point.level.family() != Family::RectifiedFlow && point.level.noise() > 0.0)
        {
            return Err(DiffusionError::WrongFamily {
                sampler: "flow_heun",
                family: Family::RectifiedFlow,
            });
        }
        let steps = points.windows(2).map(|pair| heun_step(pair, |to| over_time(&pair[0], to)));
        Ok(Stages { opening: None, stages: steps.flatten().collect() })
    }
}

fn heun_step(pair: &[NoisePoint], second: impl Fn(&NoisePoint) -> Update) -> Vec<Stage> {
    let [from, to] = [pair[0], pair[1]];
    let first = |keep, ends_step| Stage { at: from, keep, next: euler(&to), ends_step };
    if to.level.noise() == 0.0 {
        return vec![first(None, true)];
    }
    let keep = Update { z: 1.0, ..Update::default() };
    vec![first(Some(keep), false), Stage { at: to, keep: None, next: second(&to), ends_step: true }]
}

/// `z' = a' (z / a + (sigma' - sigma) (eps + eps_before) / 2)`, where `z / a = x0 + sigma eps` of the
/// first call.
fn over_sigma(sigma: f64, to: &NoisePoint) -> Update {
    let signal = to.level.signal();
    let half = 0.5 * (to.level.sigma() - sigma) * signal;
    Update { x0: vec![0.0, signal], eps: vec![half, half + sigma * signal], ..Update::default() }
}

/// `z' = z + (t' - t) (eps - x0 + eps_before - x0_before) / 2`.
fn over_time(from: &NoisePoint, to: &NoisePoint) -> Update {
    let half = 0.5 * (to.level.noise() - from.level.noise());
    Update { kept: 1.0, x0: vec![-half; 2], eps: vec![half; 2], ..Update::default() }
}
