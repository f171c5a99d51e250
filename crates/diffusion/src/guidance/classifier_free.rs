use burn::tensor::Tensor;

use super::{Guidance, GuidanceContext, GuidancePair, GuidanceState, check_finite, extrapolated};
use crate::{DiffusionError, NoiseLevel};

const NAME: &str = "classifier-free guidance";

/// Classifier-free guidance (Ho and Salimans, 2022), in the convention of Imagen and LD4LG:
/// `w conditional + (1 - w) unconditional`.
///
/// In the letters of the paper's own formula, `w` is `1 + w`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassifierFree {
    /// `w`: 1 is the conditional prediction alone and needs no unconditional one, 0 the
    /// unconditional one, more than 1 strengthens the condition. Any finite number. LD4LG uses 2 for
    /// sequence-to-sequence tasks.
    pub scale: f64,
}

impl<const D: usize> Guidance<D> for ClassifierFree {
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
