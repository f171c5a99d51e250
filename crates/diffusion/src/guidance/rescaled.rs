use burn::tensor::{FloatDType, Tensor};

use super::{Guidance, GuidanceContext, GuidancePair, GuidanceState, check_shape, samples};
use crate::checks::require;
use crate::{DiffusionError, NoiseLevel};

const NAME: &str = "guidance rescale";

/// Rescaled guidance (Lin et al., 2023, "Common Diffusion Noise Schedules and Sample Steps are
/// Flawed", section 3.4): what the inner guidance makes is brought back to the standard deviation of
/// the conditional prediction, sample by sample, and mixed with itself:
/// `phi guided std(conditional) / std(guided) + (1 - phi) guided`.
///
/// It acts on the network's outputs as they are, so its effect depends on what the network predicts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rescaled<G> {
    /// The guidance whose result is rescaled.
    pub inner: G,
    /// Share of the rescaled prediction, in [0, 1]; 0 leaves the inner guidance as it is, the paper
    /// uses 0.7.
    pub phi: f64,
}

impl<const D: usize, G: Guidance<D>> Guidance<D> for Rescaled<G> {
    fn check(&self) -> Result<(), DiffusionError> {
        let in_range = (0.0..=1.0).contains(&self.phi);
        require(in_range, NAME, "phi", self.phi, "it must lie between 0 and 1")?;
        self.inner.check()
    }

    fn needs_unconditional(&self, level: NoiseLevel, step: usize) -> bool {
        self.inner.needs_unconditional(level, step)
    }

    fn combine(
        &self,
        predictions: GuidancePair<D>,
        at: &GuidanceContext<D>,
        state: GuidanceState<D>,
    ) -> Result<(Tensor<D>, GuidanceState<D>), DiffusionError> {
        if self.phi == 0.0 {
            return self.inner.combine(predictions, at, state);
        }
        let conditional = predictions.conditional.clone();
        let (guided, state) = self.inner.combine(predictions, at, state)?;
        check_shape(NAME, "the inner guidance's result", &guided, &conditional)?;
        Ok((self.rescale(guided, conditional.cast(FloatDType::F32)), state))
    }
}

impl<G> Rescaled<G> {
    fn rescale<const D: usize>(&self, guided: Tensor<D>, conditional: Tensor<D>) -> Tensor<D> {
        let deviation = samples::deviation(guided.clone());
        // A sample that is constant has no deviation to bring back, and stays.
        let constant = deviation.clone().equal_scalar(0.0);
        let ratio = (samples::deviation(conditional) / deviation).mask_fill(constant, 1.0);
        guided * (ratio * self.phi + (1.0 - self.phi))
    }
}
