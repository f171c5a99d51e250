//! A training as its metrics log tells it.

use std::path::Path;

use anyhow::Result;
use latent_text::training::report::{MetricsLine, read_metrics};

/// Logged means on either side of one that it is smoothed with.
const NEIGHBOURS: usize = 4;

/// Points (step, loss).
pub type Curve = Vec<(u64, f64)>;

/// The losses that a log has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Of the batches that are trained on, smoothed.
    Training,
    /// Of the validation set.
    Validation,
}

impl Loss {
    pub const ALL: [Self; 2] = [Self::Training, Self::Validation];

    pub fn name(self) -> &'static str {
        match self {
            Self::Training => "training loss",
            Self::Validation => "validation loss",
        }
    }
}

/// One stage of a training.
pub struct Run {
    pub setting: String,
    /// The how-manieth of its setting, from 0: runs of several settings with this number belong together.
    pub number: usize,
    pub stage: String,
    training: Curve,
    validation: Curve,
}

impl Run {
    /// The stages in a log; `earlier` are the runs read before it.
    pub fn read(setting: &str, log: &Path, earlier: &[Self]) -> Result<Vec<Self>> {
        let lines = read_metrics(log)?;
        let mut stages: Vec<&str> = lines.iter().map(|line| line.stage.as_str()).collect();
        stages.dedup();
        let number = |stage: &str| {
            earlier.iter().filter(|run| run.setting == setting && run.stage == stage).count()
        };
        let run = |stage: &str| Self {
            setting: setting.to_string(),
            number: number(stage),
            stage: stage.to_string(),
            training: smooth(&curve(&lines, stage, "loss")),
            validation: curve(&lines, stage, "validation_loss"),
        };
        let runs = stages.into_iter().map(run);
        Ok(runs.filter(|run| !run.training.is_empty() && !run.validation.is_empty()).collect())
    }

    pub fn curve(&self, loss: Loss) -> &Curve {
        match loss {
            Loss::Training => &self.training,
            Loss::Validation => &self.validation,
        }
    }

    pub fn last(&self, loss: Loss) -> (u64, f64) {
        *self.curve(loss).last().expect("a run without losses is left out")
    }

    pub fn name(&self) -> String {
        format!("{} {}", self.setting, self.number + 1)
    }
}

fn curve(lines: &[MetricsLine], stage: &str, metric: &str) -> Curve {
    let of_stage = lines.iter().filter(|line| line.stage == stage);
    of_stage.filter_map(|line| Some((line.step, (*line.values.get(metric)?)?))).collect()
}

/// Each loss as the mean of itself and its neighbours.
fn smooth(curve: &[(u64, f64)]) -> Curve {
    let around = |at: usize| {
        let near = &curve[at.saturating_sub(NEIGHBOURS)..curve.len().min(at + NEIGHBOURS + 1)];
        near.iter().map(|point| point.1).sum::<f64>() / near.len() as f64
    };
    (0..curve.len()).map(|at| (curve[at].0, around(at))).collect()
}
