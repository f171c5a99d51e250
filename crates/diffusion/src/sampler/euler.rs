use serde::{Deserialize, Serialize};

use super::churn::Churn;
use super::{Sampler, Stage, Stages, Update};
use crate::{DiffusionError, NoisePoint};

/// Euler's method for the probability flow (Karras et al., 2022), with EDM's churn if asked for.
///
/// Without churn it is the same in all its usual forms: over `sigma` for `z / signal`, over time for a
/// straight flow (Lipman et al., 2022), and as DDIM: `z' = a' x0 + s' eps`. It reaches the first order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Euler {
    /// Noise that is added before each step. Default: none.
    pub churn: Churn,
}

impl Sampler for Euler {
    fn stages(&self, points: &[NoisePoint]) -> Result<Stages, DiffusionError> {
        self.churn.check()?;
        let plain = Stages::one_call_a_step(points, |_, _, to| Ok(euler(to)))?;
        Ok(with_churn(&self.churn, points, plain.stages.into_iter().map(|stage| vec![stage])))
    }
}

/// `a' x0 + s' eps`.
pub(super) fn euler(to: &NoisePoint) -> Update {
    Update::estimate(to.level.signal(), to.level.noise(), 0.0)
}

/// Joins the stages of all steps, the first of each at its churned level. The noise is added at the
/// end of the step before.
pub(super) fn with_churn(
    churn: &Churn,
    points: &[NoisePoint],
    steps: impl Iterator<Item = Vec<Stage>>,
) -> Stages {
    let mut opening = None;
    let mut stages: Vec<Stage> = Vec::new();
    for (mut step, point) in steps.zip(points) {
        if let Some(churned) = churn.raise(point.level, points.len() - 1) {
            step[0].at.level = churned.level;
            match stages.last_mut() {
                None => opening = Some((churned.scale, churned.noise)),
                Some(before) => {
                    let next = std::mem::take(&mut before.next);
                    before.next = next.then_renoise(churned.scale, churned.noise);
                }
            }
        }
        stages.extend(step);
    }
    Stages { opening, stages }
}
