use serde::{Deserialize, Serialize};

use super::multistep::{FEW_STEPS, History, Order};
use super::{Sampler, Stages, Update};
use crate::{DiffusionError, NoiseLevel, NoisePoint};

/// DEIS with several steps (Zhang and Chen, 2023; the form over `ln sigma`): estimates of `eps` of the
/// last one, two or three calls are interpolated by a polynomial in `ln sigma` and integrated over
/// `sigma` exactly.
///
/// The step to the data is of the first order, `z' = x0`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Deis {
    /// How many estimates a step uses. Default: two.
    pub order: Order,
    /// Whether plans of fewer than 15 steps come down to lower orders in their last steps. Default:
    /// yes.
    pub lower_order_final: bool,
}

impl Default for Deis {
    fn default() -> Self {
        Self { order: Order::Two, lower_order_final: true }
    }
}

impl Sampler for Deis {
    fn stages(&self, points: &[NoisePoint]) -> Result<Stages, DiffusionError> {
        Stages::one_call_a_step(points, |step, _, _| {
            let lower = self.lower_order_final && points.len() <= FEW_STEPS;
            let history = History::new(points, step, self.order, lower);
            Ok(update(&history))
        })
    }
}

/// `z' = a' (z / a + sum_k integral_k eps_k)`, where `z / a = x0 + sigma eps` of this call.
fn update(history: &History) -> Update {
    let signal = history.to.signal();
    if history.order == 1 {
        return Update::estimate(signal, history.to.noise(), 0.0);
    }
    let mut eps: Vec<f64> = (0..history.order).map(|age| signal * integral(history, age)).collect();
    eps[0] += signal * history.from.sigma();
    Update { x0: vec![signal], eps, ..Update::default() }
}

/// The integral over `sigma` of the Lagrange polynomial in `ln sigma` that is 1 at the estimate `age`.
fn integral(history: &History, age: usize) -> f64 {
    let end = history.to;
    // In u = ln(sigma / sigma'), so that e^u stays near 1.
    let u = |level: NoiseLevel| end.half_log_snr() - level.half_log_snr();
    let own = u(history.levels[age]);
    let mut polynomial = [1.0, 0.0, 0.0];
    for (other, &level) in history.levels.iter().enumerate() {
        if other != age {
            let [c0, c1, c2] = polynomial.map(|c| c / (own - u(level)));
            let root = u(level);
            polynomial = [-root * c0, c0 - root * c1, c1 - root * c2];
        }
    }
    let antiderivative = |x: f64| {
        let [c0, c1, c2] = polynomial;
        x.exp() * (c0 + c1 * (x - 1.0) + c2 * (x * x - 2.0 * x + 2.0))
    };
    end.sigma() * (antiderivative(0.0) - antiderivative(u(history.from)))
}
