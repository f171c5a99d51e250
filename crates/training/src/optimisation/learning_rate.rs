use serde::{Deserialize, Serialize};

/// How the learning rate falls after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// Stays at its peak.
    Constant,
    /// In a straight line to 0 at the last step.
    Linear,
    /// Along half a cosine to 0 at the last step.
    Cosine,
}

/// The learning rate over the steps: a linear warm-up from 0, then a decay to 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LearningRateConfig {
    /// The highest learning rate; default 1e-4.
    pub peak: f64,
    /// Steps of warm-up; default 1,000.
    pub warmup_steps: u64,
    /// What follows the warm-up; default cosine.
    pub decay: Decay,
}

impl Default for LearningRateConfig {
    fn default() -> Self {
        Self { peak: 1e-4, warmup_steps: 1000, decay: Decay::Cosine }
    }
}

impl LearningRateConfig {
    /// The learning rate of step `step`, counted from 0, of `steps`.
    pub fn at(&self, step: u64, steps: u64) -> f64 {
        if step < self.warmup_steps {
            return self.peak * step as f64 / self.warmup_steps as f64;
        }
        let decaying = steps.saturating_sub(self.warmup_steps).max(1);
        let progress = ((step - self.warmup_steps) as f64 / decaying as f64).min(1.0);
        self.peak
            * match self.decay {
                Decay::Constant => 1.0,
                Decay::Linear => 1.0 - progress,
                Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            }
    }
}
