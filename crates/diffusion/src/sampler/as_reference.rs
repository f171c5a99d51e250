use serde::{Deserialize, Serialize};

use super::dpm_solver_pp::DpmSolverPp;
use super::multistep::Order;
use super::{SAMPLER, Sampler, Stages, Update};
use crate::checks::require;
use crate::{DiffusionError, NoisePoint};

/// What the published code of LD4LG calls `dpmpp`, with its two faults: it never uses the estimate
/// before, so that it is of the first order, and it ends at the second-last estimate of `x0`, not at the
/// last one. Only for comparisons with that code; [`DpmSolverPp`] is the right one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DpmppAsReference {}

impl Sampler for DpmppAsReference {
    fn stages(&self, points: &[NoisePoint]) -> Result<Stages, DiffusionError> {
        let steps = points.len() - 1;
        let requirement = "at least 2, for this sampler ends at the second-last estimate";
        require(steps >= 2, SAMPLER, "steps", steps as f64, requirement)?;
        let mut stages = DpmSolverPp { order: Order::One, ..Default::default() }.stages(points)?;
        if let Some(last) = stages.stages.last_mut() {
            last.next = Update { x0: vec![0.0, 1.0], ..Update::default() };
        }
        Ok(stages)
    }
}
