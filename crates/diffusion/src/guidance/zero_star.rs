use burn::tensor::{FloatDType, Tensor};

use super::{
    Guidance, GuidanceContext, GuidancePair, GuidanceState, check_finite, extrapolate, samples,
};
use crate::{DiffusionError, NoiseLevel, Prediction};

const NAME: &str = "CFG-Zero* guidance";

/// As in the paper's code and `diffusers`.
const ADDED_TO_SQUARED_NORM: f64 = 1e-8;

/// CFG-Zero* (Fan et al., 2025, "CFG-Zero*: Improved Classifier-Free Guidance for Flow Matching
/// Models"): classifier-free guidance whose unconditional prediction `u` is first multiplied by
/// `s = <c, u> / |u|^2`, sample by sample, so that it comes as near to the conditional one `c` as it
/// can: `s u + w (c - s u)`. In the first steps the prediction is zero.
///
/// It is made for velocities. A velocity of zero (for a rectified flow) or a `v` of zero (for a
/// variance-preserving process) leaves `z` as it is; an `x0` of zero would erase it and is refused.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ZeroStar {
    /// `w`: 1 is the conditional prediction alone and needs no unconditional one. Any finite number.
    pub scale: f64,
    /// How many steps at the start predict zero. The paper has about 4 % of the steps, `diffusers`
    /// 1; 0: none.
    pub zero_steps: usize,
}

impl<const D: usize> Guidance<D> for ZeroStar {
    fn check(&self) -> Result<(), DiffusionError> {
        check_finite(NAME, "scale", self.scale)
    }

    fn needs_unconditional(&self, _: NoiseLevel, step: usize) -> bool {
        self.scale != 1.0 && step >= self.zero_steps
    }

    /// # Errors
    /// Besides those of the trait [`DiffusionError::ZeroX0`] if `zero_steps` is not 0 and the
    /// network predicts `x0`.
    fn combine(
        &self,
        predictions: GuidancePair<D>,
        at: &GuidanceContext<D>,
        state: GuidanceState<D>,
    ) -> Result<(Tensor<D>, GuidanceState<D>), DiffusionError> {
        if self.zero_steps > 0 && at.prediction == Prediction::X0 {
            return Err(DiffusionError::ZeroX0 { zero_steps: self.zero_steps });
        }
        if at.step < self.zero_steps {
            return Ok((predictions.conditional.cast(FloatDType::F32).zeros_like(), state));
        }
        if self.scale == 1.0 {
            return Ok((predictions.conditional.cast(FloatDType::F32), state));
        }
        let (conditional, unconditional) = predictions.both(NAME, at)?;
        let product = samples::sum(conditional.clone() * unconditional.clone());
        let squared_norm = samples::sum(unconditional.clone().square());
        let fitted = unconditional * (product / (squared_norm + ADDED_TO_SQUARED_NORM));
        Ok((extrapolate(conditional, fitted, self.scale), state))
    }
}
