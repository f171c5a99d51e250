use burn::tensor::{Device, Tensor};
use latent_text_kernels::{AdamWState, AdamWStep, DecayRanges, adamw, global_norm};
use serde::{Deserialize, Serialize};

use super::{Ema, FlatLayout, check_range};
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
        AdamWOptimizer { config: self.clone(), decayed: layout.decayed(device), history: None }
    }
}

/// AdamW on a flat parameter vector.
pub struct AdamWOptimizer {
    config: AdamWConfig,
    decayed: DecayRanges,
    history: Option<AdamWSnapshot>,
}

/// The optimiser's history, as a checkpoint keeps it.
#[derive(Clone)]
pub struct AdamWSnapshot {
    /// Steps taken.
    pub time: usize,
    /// First moment, `[len]`.
    pub moment_1: Tensor<1>,
    /// Second moment, `[len]`.
    pub moment_2: Tensor<1>,
}

impl AdamWOptimizer {
    /// One step at the given learning rate for a gradient in any float dtype, which the running average of
    /// the parameters takes in, if there is one. Returns the new parameters and the global norm of the
    /// gradient before clipping, as a tensor of one element. All vectors have shape `[len]`.
    pub fn step(
        &mut self,
        learning_rate: f64,
        parameters: Tensor<1>,
        gradient: Tensor<1>,
        mut ema: Option<&mut Ema>,
    ) -> (Tensor<1>, Tensor<1>) {
        let norm = global_norm(gradient.clone());
        let AdamWSnapshot { time, moment_1, moment_2 } =
            self.history.take().unwrap_or_else(|| AdamWSnapshot {
                time: 0,
                moment_1: parameters.zeros_like(),
                moment_2: parameters.zeros_like(),
            });
        let time = time + 1;
        // Taken and not cloned: a vector that nobody else holds is written in place.
        let average_decay = ema.as_ref().map_or(0.0, |ema| ema.next_decay());
        let average = ema.as_mut().map(|ema| ema.take());
        let step = AdamWStep {
            beta_1: self.config.beta_1,
            beta_2: self.config.beta_2,
            epsilon: self.config.epsilon,
            learning_rate,
            weight_decay: self.config.weight_decay,
            gradient_clip: self.config.gradient_clip,
            average_decay,
            time,
        };
        let state = AdamWState { parameters, moment_1, moment_2, average };
        let state = adamw(state, gradient, norm.clone(), &self.decayed, step);
        let AdamWState { parameters, moment_1, moment_2, average } = state;
        self.history = Some(AdamWSnapshot { time, moment_1, moment_2 });
        if let (Some(ema), Some(average)) = (ema, average) {
            ema.put(average);
        }
        (parameters, norm)
    }

    /// The history, or none before the first step.
    pub fn snapshot(&self) -> Option<AdamWSnapshot> {
        self.history.clone()
    }

    /// Goes on from a history that [`AdamWOptimizer::snapshot`] gave.
    pub fn restore(&mut self, snapshot: Option<AdamWSnapshot>) {
        self.history = snapshot;
    }
}
