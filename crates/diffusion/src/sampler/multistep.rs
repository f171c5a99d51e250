use serde::{Deserialize, Serialize};

use crate::{NoiseLevel, NoisePoint};

/// Plans with fewer steps than this come down to lower orders in their last steps, where asked to.
pub(super) const FEW_STEPS: usize = 15;

/// Order of a multistep method: how many estimates a step uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The newest estimate alone.
    One,
    /// Two estimates: a straight line.
    #[default]
    Two,
    /// Three estimates: a parabola.
    Three,
}

impl Order {
    pub(super) fn number(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Three => 3,
        }
    }
}

/// What a multistep method knows of the steps before, in half log-SNR `l = ln(a / s)`.
#[derive(Debug)]
pub(super) struct History {
    pub(super) from: NoiseLevel,
    pub(super) to: NoiseLevel,
    /// The order that this step can have.
    pub(super) order: usize,
    /// `l' - l`.
    pub(super) h: f64,
    /// Levels of the estimates, newest first; `order` of them.
    pub(super) levels: Vec<NoiseLevel>,
}

impl History {
    /// For the step from `points[step]`. Lower orders at the start, after pure noise, at the data, and,
    /// if asked for, in the last steps.
    pub(super) fn new(
        points: &[NoisePoint],
        step: usize,
        order: Order,
        lower_order_final: bool,
    ) -> Self {
        let (from, to) = (points[step].level, points[step + 1].level);
        let steps = points.len() - 1;
        let finite = (0..=step).rev().take_while(|&k| points[k].level.log_snr().is_finite());
        let mut most = order.number().min(finite.count().max(1));
        if to.noise() == 0.0 {
            most = 1;
        } else if lower_order_final {
            most = most.min(steps - step);
        }
        let levels: Vec<_> = (0..most).map(|age| points[step - age].level).collect();
        let h = to.half_log_snr() - from.half_log_snr();
        Self { from, to, order: most, h, levels }
    }

    /// `(l_age - l) / h`, below 0.
    pub(super) fn place(&self, age: usize) -> f64 {
        (self.levels[age].half_log_snr() - self.from.half_log_snr()) / self.h
    }

    /// Factors of the estimates in the slope of their interpolation at the newest, per `h`.
    pub(super) fn slope(&self) -> Vec<f64> {
        let r0 = -self.place(1);
        let last = [1.0 / r0, -1.0 / r0];
        if self.order < 3 {
            return last.to_vec();
        }
        let curvature = self.curvature();
        (0..3).map(|age| last.get(age).unwrap_or(&0.0) + r0 * curvature[age]).collect()
    }

    /// Factors of the estimates in their second divided difference, per `h^2`.
    pub(super) fn curvature(&self) -> Vec<f64> {
        let (near, far) = (-self.place(1), -self.place(2));
        let r1 = far - near;
        let [newest, oldest] = [1.0 / (near * far), 1.0 / (r1 * far)];
        vec![newest, -newest - oldest, oldest]
    }
}
