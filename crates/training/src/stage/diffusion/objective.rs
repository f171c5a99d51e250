use latent_text_diffusion::{LossKind, LossWeight, TimeSampling};
use serde::{Deserialize, Serialize};

use crate::TrainingError;

/// What the denoiser is trained towards (LD4LG, sections 3.2 and 3.3).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiffusionObjective {
    /// Distance between output and target; default L2. LD4LG has L1 for models with sources.
    pub loss: LossKind,
    /// How much each noise level counts; default uniform, as in LD4LG.
    #[serde(skip_serializing_if = "is_default")]
    pub weight: LossWeight,
    /// How the times, and so the noise levels, of a batch are drawn; default uniform, as in LD4LG.
    /// Importance sampling can't be used: batches are made ahead of the losses that it needs.
    #[serde(skip_serializing_if = "is_default")]
    pub times: TimeSampling,
    /// Share of each batch that is given an estimate of the clean latents; default 0.5.
    ///
    /// The rows of a batch are in random order, so the share is met exactly, sample by sample, and
    /// the estimating pass runs on that share alone.
    pub self_conditioning: f64,
    /// Probability with which a sample's class is replaced by the null class; default 0.1. Texts without
    /// a label have the null class anyhow.
    pub class_dropout: f64,
    /// Probability with which a sample's source is replaced by the null source, which guidance needs;
    /// default 0.1.
    #[serde(skip_serializing_if = "is_usual_dropout")]
    pub source_dropout: f64,
}

const USUAL_DROPOUT: f64 = 0.1;

// Settings that a training can do without are left out of what checkpoints are compared by, so that
// those made before there were such settings can still be resumed.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn is_usual_dropout(value: &f64) -> bool {
    *value == USUAL_DROPOUT
}

impl Default for DiffusionObjective {
    fn default() -> Self {
        Self {
            loss: LossKind::L2,
            weight: LossWeight::Uniform,
            times: TimeSampling::Uniform,
            self_conditioning: 0.5,
            class_dropout: USUAL_DROPOUT,
            source_dropout: USUAL_DROPOUT,
        }
    }
}

impl DiffusionObjective {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`TrainingError::Setting`] for a share outside 0..=1 or a way to draw times that can't be used,
    /// [`TrainingError::Diffusion`] for a parameter of the loss, its weight or the times out of range.
    pub fn check(&self) -> Result<(), TrainingError> {
        self.loss.check()?;
        self.weight.check()?;
        if self.times.init()?.needs_losses() {
            return Err(TrainingError::setting(
                "diffusion.objective.times",
                "can't be importance, as batches are made before the losses that it needs are known; \
                 use uniform, low_discrepancy or logit_normal",
            ));
        }
        for (name, value) in [
            ("self_conditioning", self.self_conditioning),
            ("class_dropout", self.class_dropout),
            ("source_dropout", self.source_dropout),
        ] {
            if !(0.0..=1.0).contains(&value) {
                return Err(TrainingError::setting(
                    format!("diffusion.objective.{name}"),
                    format!("is {value}, must lie in 0..=1"),
                ));
            }
        }
        Ok(())
    }
}
