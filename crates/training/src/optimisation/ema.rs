use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::check_range;
use crate::TrainingError;

/// Exponential moving average of the parameters with a power warm-up, as LD4LG's
/// (`ema-pytorch` 0.0.10).
///
/// Up to `update_after` the average is a copy. From then on, `n` updates later, its decay is
/// `min(decay, 1 - (1 + n)^(-power))`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmaConfig {
    /// Largest decay; default 0.9999.
    pub decay: f64,
    /// Exponent of the warm-up; default 0.75.
    pub power: f64,
    /// Steps during which the average only copies; default 100.
    pub update_after: u64,
}

impl Default for EmaConfig {
    fn default() -> Self {
        Self { decay: 0.9999, power: 0.75, update_after: 100 }
    }
}

impl EmaConfig {
    /// Checks the settings; `section` names them in the error.
    ///
    /// # Errors
    /// [`TrainingError::Setting`].
    pub fn check(&self, section: &str) -> Result<(), TrainingError> {
        let name = |setting: &str| format!("{section}.ema.{setting}");
        let in_range = (0.0..=1.0).contains(&self.decay);
        check_range(in_range, name("decay"), self.decay, "lie in [0, 1]")?;
        let in_range = self.power.is_finite() && self.power >= 0.0;
        check_range(in_range, name("power"), self.power, "be a number of at least 0")
    }

    /// The decay of update number `update`, counted from 0; 0 copies.
    pub fn decay_at(&self, update: u64) -> f64 {
        // The original averages once right after its last copy, which changes nothing.
        if update <= self.update_after + 1 {
            return 0.0;
        }
        let warm = (update - self.update_after) as f64;
        (1.0 - (1.0 + warm).powf(-self.power)).min(self.decay)
    }
}

/// The running average of a flat parameter vector.
pub struct Ema {
    config: EmaConfig,
    /// Averaged parameters, `[len]`.
    pub average: Tensor<1>,
    /// Updates so far.
    pub updates: u64,
}

impl Ema {
    /// An average that starts at `parameters`.
    pub fn new(config: EmaConfig, parameters: Tensor<1>) -> Self {
        Self { config, average: parameters, updates: 0 }
    }

    /// The decay of the next update.
    pub(super) fn next_decay(&self) -> f64 {
        self.config.decay_at(self.updates)
    }

    /// Hands out the average for an update, which [`put`](Self::put) ends.
    pub(super) fn take(&mut self) -> Tensor<1> {
        let nothing = Tensor::empty([1], &self.average.device());
        std::mem::replace(&mut self.average, nothing)
    }

    /// The average after an update.
    pub(super) fn put(&mut self, average: Tensor<1>) {
        self.average = average;
        self.updates += 1;
    }
}
