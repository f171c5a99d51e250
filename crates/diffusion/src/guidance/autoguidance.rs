use burn::tensor::Tensor;

use super::{Guidance, GuidanceContext, GuidancePair, GuidanceState, check_finite, extrapolated};
use crate::{DiffusionError, NoiseLevel};

const NAME: &str = "autoguidance";

/// Autoguidance (Karras et al., 2024, "Guiding a Diffusion Model with a Bad Version of Itself"):
/// `weaker + w (better - weaker)`.
///
/// The better model's output is [`GuidancePair::conditional`], that of a smaller or less trained
/// model *under the same condition* is [`GuidancePair::unconditional`]; so where
/// [`needs_unconditional`](Guidance::needs_unconditional) holds, the caller runs the weaker model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Autoguidance {
    /// `w`: 1 is the better model alone. Any finite number.
    pub scale: f64,
}

impl<const D: usize> Guidance<D> for Autoguidance {
    fn check(&self) -> Result<(), DiffusionError> {
        check_finite(NAME, "scale", self.scale)
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
        Ok((extrapolated(NAME, self.scale, predictions, at)?, state))
    }
}
