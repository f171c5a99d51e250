use serde::{Deserialize, Serialize};

use super::multistep::{FEW_STEPS, History, Order};
use super::{Sampler, Stages, Update, check_at_least_zero};
use crate::{DiffusionError, NoisePoint};

/// DPM-Solver++ with several steps (Lu et al., 2022): an exponential integrator over
/// `h = ln(a' / s') - ln(a / s)` that extrapolates the estimates of `x0` of the last one, two or three
/// calls ("1", "2M", "3M") and converges with that order. With `eta` above 0 it is SDE-DPM-Solver++, whose
/// distribution converges with the second order at most.
///
/// The step to the data is of the first order, `z' = x0`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DpmSolverPp {
    /// How many estimates a step uses. Default: two.
    pub order: Order,
    /// How the second order uses the slope of the estimates. Default: midpoint.
    pub slope: Slope,
    /// Factor of the noise, at least 0: 0 is the deterministic solver, 1 the paper's SDE. Default: 0.
    pub eta: f64,
    /// Whether plans of fewer than 15 steps come down to lower orders in their last steps, as
    /// diffusers' do by default. Default: yes.
    pub lower_order_final: bool,
    /// Whether the third order weighs the curvature of the estimates half, as diffusers 0.42 and
    /// k-diffusion 0.1 do, which brings it down to the second order. Default: no.
    pub half_curvature: bool,
}

impl Default for DpmSolverPp {
    fn default() -> Self {
        Self {
            order: Order::Two,
            slope: Slope::Midpoint,
            eta: 0.0,
            lower_order_final: true,
            half_curvature: false,
        }
    }
}

/// How a second-order step weighs the slope of the estimates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Slope {
    /// As if the estimate of the middle held for the whole step.
    #[default]
    Midpoint,
    /// The integral of a straight line.
    Heun,
}

impl Sampler for DpmSolverPp {
    fn stages(&self, points: &[NoisePoint]) -> Result<Stages, DiffusionError> {
        check_at_least_zero("eta", self.eta)?;
        Stages::one_call_a_step(points, |step, _, _| {
            let lower = self.lower_order_final && points.len() <= FEW_STEPS;
            let history = History::new(points, step, self.order, lower);
            Ok(self.update(&history))
        })
    }
}

impl DpmSolverPp {
    fn update(&self, history: &History) -> Update {
        let (from, to) = (history.from, history.to);
        if to.noise() == 0.0 {
            return Update::estimate(to.signal(), 0.0, 0.0);
        }
        // Time of the stochastic equation runs faster.
        let h = history.h * (1.0 + self.eta);
        let decay = (-h).exp_m1();
        let signal = to.signal();
        let weights = [-decay, decay / h + 1.0, (decay / h + 1.0) / h - 0.5];
        let mut x0 = vec![signal * weights[0]];
        x0.resize(history.order, 0.0);
        let mut add = |factor: f64, estimates: &[f64]| {
            x0.iter_mut().zip(estimates).for_each(|(x0, estimate)| *x0 += factor * estimate);
        };
        match history.order {
            1 => {}
            2 => {
                let weight = match self.slope {
                    Slope::Midpoint => -0.5 * decay,
                    Slope::Heun => weights[1],
                };
                add(signal * weight, &history.slope());
            }
            _ => {
                let curvature = if self.half_curvature { 1.0 } else { 2.0 };
                add(signal * weights[1], &history.slope());
                add(-signal * curvature * weights[2], &history.curvature());
            }
        }
        let noise = to.noise() * (-(-2.0 * self.eta * history.h).exp_m1()).sqrt();
        Update {
            z: to.noise() / from.noise() * (-self.eta * history.h).exp(),
            x0,
            noise,
            ..Update::default()
        }
    }
}
