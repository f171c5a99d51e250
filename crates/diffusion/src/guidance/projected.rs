use burn::tensor::{FloatDType, Tensor};

use super::{
    Guidance, GuidanceContext, GuidancePair, GuidanceState, check_finite, check_shape, samples,
};
use crate::checks::require;
use crate::{DiffusionError, NoiseLevel, Prediction};

const NAME: &str = "adaptive projected guidance";
const SMALLEST_NORM: f64 = 1e-12;

/// Adaptive projected guidance, APG (Sadat et al., 2024, "Eliminating Oversaturation and Artifacts
/// of High Guidance Scales", algorithm 1).
///
/// On the estimates of `x0`, sample by sample: the difference `d` of the conditional estimate `c` and
/// the unconditional one gets momentum, `d + momentum d'` with `d'` that of the step before; it is
/// shortened to the norm `norm_threshold`; its component along `c` is multiplied by `eta`; and
/// `w - 1` times what is left is added to `c`.
///
/// With `eta` 1, no threshold and momentum 0 it equals [`ClassifierFree`](super::ClassifierFree).
/// Where the prediction is `eps` and `z` pure noise, there is no `x0` to speak of: the conditional
/// prediction and the momentum stay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdaptiveProjected {
    /// `w`: 1 is the conditional prediction alone and needs no unconditional one. Any finite number.
    pub scale: f64,
    /// Factor on the component of the update along the conditional estimate, which saturates: 0
    /// leaves it out (the paper's choice), 1 keeps it.
    pub eta: f64,
    /// `r`, the largest l2 norm of a sample's difference of the estimates, above 0; `None`: any.
    pub norm_threshold: Option<f64>,
    /// `beta`, the share of the momentum that is kept, between -1 and 1, both excluded; the paper
    /// uses negative ones such as -0.5. 0: no momentum.
    pub momentum: f64,
}

impl<const D: usize> Guidance<D> for AdaptiveProjected {
    fn check(&self) -> Result<(), DiffusionError> {
        check_finite(NAME, "scale", self.scale)?;
        check_finite(NAME, "eta", self.eta)?;
        let keeps_less = self.momentum.abs() < 1.0;
        let between = "it must lie between -1 and 1, so that the past fades";
        require(keeps_less, NAME, "momentum", self.momentum, between)?;
        let Some(threshold) = self.norm_threshold else {
            return Ok(());
        };
        let above_zero = threshold.is_finite() && threshold > 0.0;
        let finite = "it must be a finite number above 0; leave it out for no threshold";
        require(above_zero, NAME, "norm_threshold", threshold, finite)
    }

    fn needs_unconditional(&self, _: NoiseLevel, _: usize) -> bool {
        self.scale != 1.0
    }

    fn combine(
        &self,
        predictions: GuidancePair<D>,
        at: &GuidanceContext<D>,
        state: GuidanceState<D>,
    ) -> Result<(Tensor<D>, GuidanceState<D>), DiffusionError> {
        if self.scale == 1.0 {
            return Ok((predictions.conditional.cast(FloatDType::F32), state));
        }
        let (conditional, unconditional) = predictions.both(NAME, at)?;
        check_shape(NAME, "z", &at.z, &conditional)?;
        if at.level.signal() == 0.0 && at.prediction == Prediction::Eps {
            return Ok((conditional, state));
        }

        let output_difference = conditional.clone() - unconditional;
        let (difference, state) =
            self.with_momentum(x0_change(output_difference, at), &conditional, state)?;
        let x0 = at.prediction.to_x0(at.z.clone(), at.level, conditional.clone());
        let update = self.project(self.shorten(difference), x0);
        Ok((conditional + output_change(update, at) * (self.scale - 1.0), state))
    }
}

impl AdaptiveProjected {
    fn with_momentum<const D: usize>(
        &self,
        difference: Tensor<D>,
        conditional: &Tensor<D>,
        state: GuidanceState<D>,
    ) -> Result<(Tensor<D>, GuidanceState<D>), DiffusionError> {
        if self.momentum == 0.0 {
            return Ok((difference, state));
        }
        let running = match state.running {
            Some(running) => {
                check_shape(NAME, "the momentum", &running, conditional)?;
                difference + running * self.momentum
            }
            None => difference,
        };
        Ok((running.clone(), GuidanceState { running: Some(running) }))
    }

    fn shorten<const D: usize>(&self, difference: Tensor<D>) -> Tensor<D> {
        let Some(threshold) = self.norm_threshold else {
            return difference;
        };
        let norm = samples::norm(difference.clone()).clamp_min(SMALLEST_NORM);
        difference * (norm.recip() * threshold).clamp_max(1.0)
    }

    /// `difference` with its component along `x0` multiplied by `eta`.
    fn project<const D: usize>(&self, difference: Tensor<D>, x0: Tensor<D>) -> Tensor<D> {
        if self.eta == 1.0 {
            return difference;
        }
        let direction = x0.clone() / samples::norm(x0).clamp_min(SMALLEST_NORM);
        let length = samples::sum(difference.clone() * direction.clone());
        difference + direction * length * (self.eta - 1.0)
    }
}

/// By how much `x0` changes with the network's output: the conversion is linear, `z` being the same.
fn x0_change<const D: usize>(output: Tensor<D>, at: &GuidanceContext<D>) -> Tensor<D> {
    at.prediction.to_x0(output.zeros_like(), at.level, output)
}

/// By how much the network's output changes with `x0`.
fn output_change<const D: usize>(x0: Tensor<D>, at: &GuidanceContext<D>) -> Tensor<D> {
    at.prediction.from_x0(x0.zeros_like(), at.level, x0)
}
