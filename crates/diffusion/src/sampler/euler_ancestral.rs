use serde::{Deserialize, Serialize};

use super::ddim::{ancestral, posterior_std};
use super::{Sampler, Stages, check_at_least_zero};
use crate::{DiffusionError, NoisePoint};

/// Euler's method to a lower level and noise up to the next one, the "Euler ancestral" of k-diffusion
/// (Crowson, 2022): `sigma_up = min(sigma', eta sigma' sqrt(1 - sigma'^2 / sigma^2))`.
///
/// The same as [`Ddim`](super::Ddim) with that `eta`, which here may be larger than 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EulerAncestral {
    /// Factor of the noise, at least 0. Default: 1.
    pub eta: f64,
}

impl Default for EulerAncestral {
    fn default() -> Self {
        Self { eta: 1.0 }
    }
}

impl Sampler for EulerAncestral {
    fn stages(&self, points: &[NoisePoint]) -> Result<Stages, DiffusionError> {
        check_at_least_zero("eta", self.eta)?;
        Stages::one_call_a_step(points, |_, from, to| {
            let std = self.eta * posterior_std(from.level, to.level);
            Ok(ancestral(to.level, std.min(to.level.noise())))
        })
    }
}
