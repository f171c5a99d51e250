use serde::{Deserialize, Serialize};

use super::{Sampler, Stages, Update};
use crate::{DiffusionError, NoisePoint};

/// DDIM backwards (Song et al., 2021; Dhariwal and Nichol, 2021, appendix F): from data to the noise
/// that [`Ddim`](super::Ddim) would have made it of. The plan's points are taken in reverse, and a run
/// starts from the data itself.
///
/// Each step uses the estimates at the level that it leaves: `z' = a' x0 + s' eps`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DdimInversion {}

impl Sampler for DdimInversion {
    fn stages(&self, points: &[NoisePoint]) -> Result<Stages, DiffusionError> {
        let upwards: Vec<_> = points.iter().rev().copied().collect();
        Stages::one_call_a_step(&upwards, |_, _, to| {
            Ok(Update::estimate(to.level.signal(), to.level.noise(), 0.0))
        })
    }

    fn starts_from_data(&self) -> bool {
        true
    }
}
