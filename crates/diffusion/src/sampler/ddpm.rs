use serde::{Deserialize, Serialize};

use super::ddim::lost_share;
use super::{Sampler, Stages, Update, check_share};
use crate::{DiffusionError, NoiseLevel, NoisePoint};

/// Ancestral sampling (Ho et al., 2020): the mean of `z'` given `z` and the estimate of `x0`, plus
/// noise, `z' = a' x0 + s' sqrt(SNR / SNR') eps + std n`. No noise in a step that ends at the data.
///
/// In a variance-preserving process with `r = alpha / alpha'` the mean is the
/// `(z - (1 - r) / sqrt(1 - alpha) eps) / sqrt(r)` of the paper. There the large terms cancel at the
/// first steps, where `r` is small; here nothing does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ddpm {
    /// How much noise is added. Default: the larger variance, as in LD4LG.
    pub variance: Variance,
}

/// The variance of the noise that ancestral sampling adds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Variance {
    /// That of `z` given `z'`, `s^2 (1 - SNR / SNR')`: right for data of unit variance.
    #[default]
    Large,
    /// That of `z'` given `z` and `x0`, `s'^2 (1 - SNR / SNR')`: right for a single data point.
    Small,
    /// Between the two on the log scale (Nichol and Dhariwal, 2021, equation 15).
    Interpolated {
        /// 0 is the small one, 1 the large one.
        large: f64,
    },
}

impl Sampler for Ddpm {
    fn stages(&self, points: &[NoisePoint]) -> Result<Stages, DiffusionError> {
        if let Variance::Interpolated { large } = self.variance {
            check_share("variance.large", large)?;
        }
        Stages::one_call_a_step(points, |_, from, to| Ok(self.update(from.level, to.level)))
    }
}

impl Ddpm {
    fn update(&self, from: NoiseLevel, to: NoiseLevel) -> Update {
        let snr_ratio = 1.0 - lost_share(from, to);
        let std = match to.noise() {
            0.0 => 0.0,
            _ => self.noise_factor(from, to) * lost_share(from, to).sqrt(),
        };
        Update::estimate(to.signal(), to.noise() * snr_ratio.sqrt(), std)
    }

    fn noise_factor(&self, from: NoiseLevel, to: NoiseLevel) -> f64 {
        match self.variance {
            Variance::Large => from.noise(),
            Variance::Small => to.noise(),
            Variance::Interpolated { large } => {
                from.noise().powf(large) * to.noise().powf(1.0 - large)
            }
        }
    }
}
