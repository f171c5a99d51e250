use std::fmt;

use burn::tensor::{FloatDType, Tensor};

use super::{Guidance, GuidanceContext, GuidancePair, GuidanceState, check_finite, check_shape};
use crate::{DiffusionError, NoiseLevel};

const NAME: &str = "score-gradient guidance";

/// Guidance by the gradient of a caller's score (classifier guidance: Dhariwal and Nichol, 2021,
/// algorithm 2; Song et al., 2021, section 5), on top of another guidance.
///
/// The closure gives `d ln p(y | z) / dz` at [`GuidanceContext::z`], of the same shape: usually the
/// gradient of a classifier of noised data, through autodiff. As the score of `z` is `-eps / noise`,
/// Bayes' rule makes `eps - noise weight gradient` of `eps`, which is expressed in what the network
/// predicts.
///
/// Pure noise says nothing about `y`, so at signal 0, where the change of `x0` would be infinite,
/// the closure is not called and the inner guidance stays as it is.
///
/// A closure does not fit into settings, so [`GuidanceConfig`](super::GuidanceConfig) has no such
/// kind: wrap what it makes.
#[derive(Clone)]
pub struct ScoreGradient<G, F> {
    /// The guidance whose result is changed, for instance
    /// [`ClassifierFree`](super::ClassifierFree) with scale 1.
    pub inner: G,
    /// Factor on the gradient: 1 is Bayes' rule, more favours `y`. Any finite number.
    pub weight: f64,
    /// From the place in the run to `d ln p(y | z) / dz`, `[batch, ..]`.
    pub gradient: F,
}

impl<G: fmt::Debug, F> fmt::Debug for ScoreGradient<G, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScoreGradient")
            .field("inner", &self.inner)
            .field("weight", &self.weight)
            .finish_non_exhaustive()
    }
}

impl<const D: usize, G, F> Guidance<D> for ScoreGradient<G, F>
where
    G: Guidance<D>,
    F: Fn(&GuidanceContext<D>) -> Tensor<D> + Send + Sync,
{
    fn check(&self) -> Result<(), DiffusionError> {
        check_finite(NAME, "weight", self.weight)?;
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
        let (guided, state) = self.inner.combine(predictions, at, state)?;
        let (signal, noise) = (at.level.signal(), at.level.noise());
        // z = signal x0 + noise eps stays, so x0 changes by -noise / signal times what eps does.
        let x0_factor = self.weight * noise * noise / signal;
        if self.weight == 0.0 || !(x0_factor as f32).is_finite() {
            return Ok((guided, state));
        }
        let gradient = (self.gradient)(at).cast(FloatDType::F32);
        check_shape(NAME, "the gradient", &gradient, &guided)?;
        let eps_change = gradient.clone() * (-self.weight * noise);
        // What the network should answer is linear in x0 and eps, so changes convert like values.
        let change = at.prediction.target(gradient * x0_factor, eps_change, at.level);
        Ok((guided + change, state))
    }
}
