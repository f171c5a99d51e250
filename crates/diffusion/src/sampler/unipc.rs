use serde::{Deserialize, Serialize};

use super::multistep::{History, Order};
use super::{Sampler, Stage, Stages, Update};
use crate::{DiffusionError, NoisePoint};

/// UniPC (Zhao et al., 2023) on estimates of `x0`: a multistep predictor, whose result a corrector of
/// one order more mends as soon as the network has seen it, at no further call.
///
/// The step to the data is of the first order, `z' = x0`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UniPc {
    /// Order of the predictor. Default: two.
    pub order: Order,
    /// The function `B(h)`. Default: `bh2`.
    pub variant: Variant,
    /// Whether the corrector is used. Default: yes.
    pub corrector: bool,
    /// Whether the last steps come down to lower orders. Default: yes.
    pub lower_order_final: bool,
}

impl Default for UniPc {
    fn default() -> Self {
        Self { order: Order::Two, variant: Variant::Bh2, corrector: true, lower_order_final: true }
    }
}

/// `B(h)` of UniPC (Zhao et al., 2023, section 3.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Variant {
    /// `B(h) = h`.
    Bh1,
    /// `B(h) = e^h - 1`.
    #[default]
    Bh2,
}

impl Sampler for UniPc {
    fn stages(&self, points: &[NoisePoint]) -> Result<Stages, DiffusionError> {
        let history = |step| History::new(points, step, self.order, self.lower_order_final);
        let stages = (0..points.len() - 1).map(|step| {
            let corrected = match step {
                0 => Update { z: 1.0, ..Update::default() },
                _ if !self.corrector => Update { z: 1.0, ..Update::default() },
                _ => self.correct(&history(step - 1)),
            };
            let next = self.predict(&history(step));
            Stage { at: points[step], keep: Some(corrected), next, ends_step: true }
        });
        Ok(Stages { opening: None, stages: stages.collect() })
    }
}

impl UniPc {
    /// From the corrected data to the next level.
    fn predict(&self, history: &History) -> Update {
        let order = history.order;
        let places: Vec<f64> = (1..order).map(|age| history.place(age)).collect();
        let weights = match order {
            1 => vec![],
            2 => vec![0.5],
            _ => solve(&places, &self.moments(history.h)),
        };
        let mut x0 = vec![0.0; order];
        self.add_differences(history, &places, &weights, &mut x0);
        x0[0] -= history.to.signal() * (-history.h).exp_m1();
        Update { kept: keeps(history), x0, ..Update::default() }
    }

    /// The step before once more, with the network's answer at its end.
    fn correct(&self, history: &History) -> Update {
        let order = history.order;
        let mut places: Vec<f64> = (1..order).map(|age| history.place(age)).collect();
        places.push(1.0);
        let weights = match order {
            1 => vec![0.5],
            _ => solve(&places, &self.moments(history.h)),
        };
        // Estimates of the step before are one call older now.
        let mut older = vec![0.0; order];
        self.add_differences(history, &places[..order - 1], &weights[..order - 1], &mut older);
        let newest = -history.to.signal() * self.b(history.h) * weights[order - 1];
        older[0] -= history.to.signal() * (-history.h).exp_m1() + newest;
        let x0 = std::iter::once(newest).chain(older).collect();
        Update { kept: keeps(history), x0, ..Update::default() }
    }

    /// Adds `-a' B sum_k weight_k (m_k - m_0) / place_k` to the factors of `m_0, m_1, ..`.
    fn add_differences(
        &self,
        history: &History,
        places: &[f64],
        weights: &[f64],
        factors: &mut [f64],
    ) {
        for (age, (place, weight)) in places.iter().zip(weights).enumerate() {
            let factor = -history.to.signal() * self.b(history.h) * weight / place;
            factors[age + 1] += factor;
            factors[0] -= factor;
        }
    }

    /// `B` of the data equation, whose `h` is negative.
    fn b(&self, h: f64) -> f64 {
        match self.variant {
            Variant::Bh1 => -h,
            Variant::Bh2 => (-h).exp_m1(),
        }
    }

    /// `phi_{k+1}(h) k! / B(h)` for `k` = 1, 2, 3.
    fn moments(&self, h: f64) -> [f64; 3] {
        let first = (-h).exp_m1() / -h - 1.0;
        let second = first / -h - 0.5;
        let third = second / -h - 1.0 / 6.0;
        [first, 2.0 * second, 6.0 * third].map(|moment| moment / self.b(h))
    }
}

fn keeps(history: &History) -> f64 {
    history.to.noise() / history.from.noise()
}

/// The `x` with `sum_k places_k^j x_k = moments_j` for `j` = 0, 1, ..: weights that are exact for the
/// powers below their number.
fn solve(places: &[f64], moments: &[f64]) -> Vec<f64> {
    match *places {
        [] => vec![],
        [_] => vec![moments[0]],
        [p, q] => {
            let second = (moments[1] - p * moments[0]) / (q - p);
            vec![moments[0] - second, second]
        }
        [p, q, r] => {
            let weight = |x: f64, y: f64, z: f64| {
                (moments[2] - (y + z) * moments[1] + y * z * moments[0]) / ((x - y) * (x - z))
            };
            vec![weight(p, q, r), weight(q, p, r), weight(r, p, q)]
        }
        _ => unreachable!("UniPC uses three estimates at most"),
    }
}
