use burn::optim::{AdamW, AdamWState, AdaptiveMomentumState, Optimizer};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{FlatLayout, check_range};
use crate::TrainingError;

/// AdamW with PyTorch's meaning of its settings: decoupled weight decay scaled by the learning rate,
/// `epsilon` added after the bias correction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamWConfig {
    /// Decay of the first moment; default 0.9.
    pub beta_1: f32,
    /// Decay of the second moment; default 0.999.
    pub beta_2: f32,
    /// Added to the root of the second moment; default 1e-8.
    pub epsilon: f32,
    /// Weight decay of parameters of two or more dimensions; others are never decayed. Default 0.01.
    pub weight_decay: f64,
    /// Largest global norm of the gradient, which is scaled down to it; 0 switches clipping off.
    /// Default 1.
    pub gradient_clip: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, weight_decay: 0.01, gradient_clip: 1.0 }
    }
}

impl AdamWConfig {
    /// Checks the settings; `section` names them in the error.
    ///
    /// # Errors
    /// [`TrainingError::Setting`].
    pub fn check(&self, section: &str) -> Result<(), TrainingError> {
        let name = |setting: &str| format!("{section}.optimizer.{setting}");
        for (setting, beta) in [("beta_1", self.beta_1), ("beta_2", self.beta_2)] {
            let in_range = (0.0..1.0).contains(&beta);
            check_range(in_range, name(setting), beta.into(), "lie in [0, 1)")?;
        }
        let epsilon = self.epsilon;
        let in_range = epsilon.is_finite() && epsilon > 0.0;
        check_range(in_range, name("epsilon"), epsilon.into(), "be a positive number")?;
        for (setting, value) in
            [("weight_decay", self.weight_decay), ("gradient_clip", self.gradient_clip)]
        {
            let in_range = value.is_finite() && value >= 0.0;
            check_range(in_range, name(setting), value, "be a number of at least 0")?;
        }
        Ok(())
    }

    /// An optimiser for parameters of the given layout, without history.
    pub fn init(&self, layout: &FlatLayout, device: &Device) -> AdamWOptimizer {
        AdamWOptimizer {
            config: self.clone(),
            // Burn's own decay knows no mask, so it is off and the mask is applied in `step`.
            adam: burn::optim::AdamWConfig::new()
                .with_beta_1(self.beta_1)
                .with_beta_2(self.beta_2)
                .with_epsilon(self.epsilon)
                .with_weight_decay(0.0)
                .build(),
            decay_mask: layout.decay_mask(device),
            state: None,
        }
    }
}

/// AdamW on a flat parameter vector.
pub struct AdamWOptimizer {
    config: AdamWConfig,
    adam: AdamW,
    decay_mask: Tensor<1>,
    state: Option<AdamWState<1>>,
}

/// The optimiser's history, as a checkpoint keeps it.
pub struct AdamWSnapshot {
    /// Steps taken.
    pub time: usize,
    /// First moment, `[len]`.
    pub moment_1: Tensor<1>,
    /// Second moment, `[len]`.
    pub moment_2: Tensor<1>,
}

impl AdamWOptimizer {
    /// One step at the given learning rate; returns the new parameters and the global norm of the
    /// gradient before clipping, as a tensor of one element. All vectors have shape `[len]`.
    pub fn step(
        &mut self,
        learning_rate: f64,
        parameters: Tensor<1>,
        gradient: Tensor<1>,
    ) -> (Tensor<1>, Tensor<1>) {
        let norm = gradient.clone().square().sum().sqrt();
        let gradient = match self.config.gradient_clip {
            clip if clip > 0.0 => {
                let scale = (norm.clone() + 1e-6).recip().mul_scalar(clip).clamp_max(1.0);
                gradient * scale
            }
            _ => gradient,
        };
        let decay = -learning_rate * self.config.weight_decay;
        let decayed = parameters * (self.decay_mask.clone() * decay + 1.0);
        let (parameters, state) =
            self.adam.step(learning_rate, decayed, gradient, self.state.take());
        self.state = state;
        (parameters, norm)
    }

    /// The history, or none before the first step.
    pub fn snapshot(&self) -> Option<AdamWSnapshot> {
        self.state.as_ref().map(|AdamWState { momentum }| AdamWSnapshot {
            time: momentum.time,
            moment_1: momentum.moment_1.clone(),
            moment_2: momentum.moment_2.clone(),
        })
    }

    /// Goes on from a history that [`AdamWOptimizer::snapshot`] gave.
    pub fn restore(&mut self, snapshot: Option<AdamWSnapshot>) {
        self.state = snapshot.map(|AdamWSnapshot { time, moment_1, moment_2 }| {
            AdamWState::new(AdaptiveMomentumState::new(time, moment_1, moment_2))
        });
    }
}
