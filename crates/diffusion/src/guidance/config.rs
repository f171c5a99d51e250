use serde::{Deserialize, Serialize};

use super::{
    AdaptiveProjected, Autoguidance, ClassifierFree, Guidance, Interval, NoiseInterval, Rescaled,
    ZeroStar,
};
use crate::DiffusionError;

/// Settings of a guidance, written as `{ name = "classifier_free", scale = 2.0 }`; `rescaled` and
/// `interval` hold the settings of another one as `inner`.
///
/// [`ScoreGradient`](super::ScoreGradient) holds a closure and has no settings file form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum GuidanceConfig {
    /// [`ClassifierFree`].
    ClassifierFree {
        /// `w`, any finite number. Default: 1, the conditional prediction alone.
        #[serde(default = "one")]
        scale: f64,
    },
    /// [`Autoguidance`].
    Autoguidance {
        /// `w`, any finite number. Default: 1, the better model alone.
        #[serde(default = "one")]
        scale: f64,
    },
    /// [`AdaptiveProjected`].
    AdaptiveProjected {
        /// `w`, any finite number. Default: 1, the conditional prediction alone.
        #[serde(default = "one")]
        scale: f64,
        /// Factor on the component along the conditional estimate, finite. Default: 0.
        #[serde(default)]
        eta: f64,
        /// Largest l2 norm of a sample's difference, above 0. Default: none. The paper has 2.5 to
        /// 15, depending on the size of the data.
        #[serde(default)]
        norm_threshold: Option<f64>,
        /// Share of the momentum that is kept, between -1 and 1. Default: 0, none. The paper has
        /// -0.75 to -0.25.
        #[serde(default)]
        momentum: f64,
    },
    /// [`ZeroStar`].
    ZeroStar {
        /// `w`, any finite number. Default: 1, the conditional prediction alone.
        #[serde(default = "one")]
        scale: f64,
        /// Steps at the start that predict zero. Default: 1.
        #[serde(default = "one_step")]
        zero_steps: usize,
    },
    /// [`Rescaled`].
    Rescaled {
        /// Share of the rescaled prediction, in [0, 1]. Default: 0.7.
        #[serde(default = "phi_of_the_paper")]
        phi: f64,
        /// The guidance whose result is rescaled.
        inner: Box<GuidanceConfig>,
    },
    /// [`Interval`].
    Interval {
        /// Where the guidance acts.
        levels: NoiseInterval,
        /// The guidance inside the interval.
        inner: Box<GuidanceConfig>,
    },
}

fn one() -> f64 {
    1.0
}

fn one_step() -> usize {
    1
}

fn phi_of_the_paper() -> f64 {
    0.7
}

impl Default for GuidanceConfig {
    /// The conditional prediction alone.
    fn default() -> Self {
        Self::ClassifierFree { scale: one() }
    }
}

impl GuidanceConfig {
    /// Checks the settings and makes the guidance, for tensors of rank `D`.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] for a setting that is out of range or not a finite number.
    pub fn init<const D: usize>(&self) -> Result<Box<dyn Guidance<D>>, DiffusionError> {
        let guidance: Box<dyn Guidance<D>> = match *self {
            Self::ClassifierFree { scale } => Box::new(ClassifierFree { scale }),
            Self::Autoguidance { scale } => Box::new(Autoguidance { scale }),
            Self::AdaptiveProjected { scale, eta, norm_threshold, momentum } => {
                Box::new(AdaptiveProjected { scale, eta, norm_threshold, momentum })
            }
            Self::ZeroStar { scale, zero_steps } => Box::new(ZeroStar { scale, zero_steps }),
            Self::Rescaled { phi, ref inner } => Box::new(Rescaled { inner: inner.init()?, phi }),
            Self::Interval { levels, ref inner } => {
                Box::new(Interval { inner: inner.init()?, levels })
            }
        };
        guidance.check()?;
        Ok(guidance)
    }
}
