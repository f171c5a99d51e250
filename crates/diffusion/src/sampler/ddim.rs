use serde::{Deserialize, Serialize};

use super::{Sampler, Stages, Update, check_share};
use crate::{DiffusionError, NoiseLevel, NoisePoint};

/// DDIM (Song et al., 2021, equation 12): with `n` standard normal,
/// `z' = a' x0 + sqrt(s'^2 - std^2) eps + std n`, where `std = eta s' sqrt(1 - SNR / SNR')`.
///
/// At `eta` 0 it is deterministic, and the same as [`Euler`](super::Euler)'s method on
/// `z / signal` over `sigma`; at 1 it is ancestral sampling with the smaller variance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ddim {
    /// Share of the noise of ancestral sampling, in [0, 1]. Default: 0.
    pub eta: f64,
}

impl Sampler for Ddim {
    fn stages(&self, points: &[NoisePoint]) -> Result<Stages, DiffusionError> {
        check_share("eta", self.eta)?;
        Stages::one_call_a_step(points, |_, from, to| {
            Ok(ancestral(to.level, self.eta * posterior_std(from.level, to.level)))
        })
    }
}

/// From the estimates to `to`, `std` of whose noise is fresh.
pub(super) fn ancestral(to: NoiseLevel, std: f64) -> Update {
    let kept_noise = (to.noise().powi(2) - std.powi(2)).max(0.0).sqrt();
    Update::estimate(to.signal(), kept_noise, std)
}

/// Standard deviation of `z'` given `z` and `x0`: `s' sqrt(1 - SNR / SNR')`.
pub(super) fn posterior_std(from: NoiseLevel, to: NoiseLevel) -> f64 {
    to.noise() * lost_share(from, to).sqrt()
}

/// `1 - SNR / SNR'`.
pub(super) fn lost_share(from: NoiseLevel, to: NoiseLevel) -> f64 {
    -(from.log_snr() - to.log_snr()).min(0.0).exp_m1()
}
