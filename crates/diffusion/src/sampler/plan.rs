use std::sync::Arc;

use burn::tensor::{DType, Device, FloatDType, Tensor};

use super::{Estimate, Sampler, SamplerKind, Transition};
use crate::{DiffusionError, NoiseLevel, NoiseSchedule, NoiseSource, Prediction, rescale_norm};

/// How to sample: the noise levels of all steps, the sampler and what the network predicts.
///
/// Immutable; one plan serves any number of runs at once. A run is driven by
/// [`sample`](super::sample), or step by step through [`start`](Self::start),
/// [`denoiser_input`](Self::denoiser_input) and [`step`](Self::step).
#[derive(Debug, Clone)]
pub struct SamplerPlan {
    sampler: Arc<dyn Sampler>,
    prediction: Prediction,
    rescale_x0: bool,
    /// The level before every step, highest noise first.
    levels: Vec<NoiseLevel>,
}

impl SamplerPlan {
    /// A plan of `steps` steps at the uniform times `1 - i / steps`.
    ///
    /// # Errors
    /// [`DiffusionError::NoSteps`] if `steps` is 0.
    pub fn new(
        schedule: &NoiseSchedule,
        sampler: SamplerKind,
        prediction: Prediction,
        steps: usize,
    ) -> Result<Self, DiffusionError> {
        Self::with_sampler(schedule, sampler.sampler(), prediction, steps)
    }

    /// As [`new`](Self::new), with a sampler of one's own.
    ///
    /// # Errors
    /// [`DiffusionError::NoSteps`] if `steps` is 0.
    pub fn with_sampler(
        schedule: &NoiseSchedule,
        sampler: Arc<dyn Sampler>,
        prediction: Prediction,
        steps: usize,
    ) -> Result<Self, DiffusionError> {
        if steps == 0 {
            return Err(DiffusionError::NoSteps);
        }
        let time = |step| 1.0 - step as f64 / steps as f64;
        Ok(Self {
            sampler,
            prediction,
            rescale_x0: false,
            levels: (0..steps).map(|step| schedule.level(time(step))).collect(),
        })
    }

    /// Whether every vector of each estimate `x0` is rescaled to the norm `sqrt(dim)`, `eps` being
    /// recomputed from it. For models of l2-normalised latents, above all with strong guidance.
    /// Off unless switched on here.
    pub fn rescale_x0(self, rescale_x0: bool) -> Self {
        Self { rescale_x0, ..self }
    }

    /// Number of steps, which is the number of network passes.
    pub fn steps(&self) -> usize {
        self.levels.len()
    }

    /// The noise levels of the latents that the network sees, in the order of the steps.
    pub fn levels(&self) -> &[NoiseLevel] {
        &self.levels
    }

    /// The state before the first step, from standard normal `z` of shape `[batch, latents, dim]`.
    pub fn start(&self, z: Tensor<3>) -> SamplerState {
        SamplerState { z: z.cast(FloatDType::F32), step: 0, estimate: None }
    }

    /// What the network is to be given for the next step; `None` after the last one.
    pub fn denoiser_input(&self, state: &SamplerState) -> Option<DenoiserInput> {
        let level = self.levels.get(state.step)?;
        let [batch, _, _] = state.z.dims();
        Some(DenoiserInput {
            z: state.z.clone(),
            alpha: alpha_tensor(*level, batch, &state.z.device()),
            self_cond: state.x0().cloned(),
        })
    }

    /// Takes the step that `output`, the network's answer for
    /// [`denoiser_input`](Self::denoiser_input), leads to. The last step ends at the estimate `x0`
    /// and draws no noise.
    ///
    /// # Panics
    /// If the run is over, or if `output` does not have the shape of the latents.
    pub fn step(
        &self,
        state: SamplerState,
        output: Tensor<3>,
        noise: &mut impl NoiseSource,
    ) -> SamplerState {
        let SamplerState { z, step, estimate } = state;
        assert!(step < self.steps(), "the run has taken all its {step} steps");
        let (shape, device) = (z.dims(), z.device());
        assert_eq!(output.dims(), shape, "the network's output against the latents");

        let from = self.levels[step];
        let (x0, eps) = self.estimate(from, z, output);
        let z = match self.levels.get(step + 1) {
            None => x0.clone(),
            Some(&to) => {
                let transition = Transition { from, to, x0: x0.clone(), eps, previous: estimate };
                self.sampler.step(transition, &mut || noise.draw(shape, &device))
            }
        };
        SamplerState { z, step: step + 1, estimate: Some(Estimate { level: from, x0 }) }
    }

    /// `(x0, eps)` from the network's output.
    fn estimate(&self, at: NoiseLevel, z: Tensor<3>, output: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
        let x0 = self.prediction.to_x0(z.clone(), at, output.clone());
        if self.rescale_x0 {
            let x0 = rescale_norm(x0);
            let eps = Prediction::X0.to_eps(z, at, x0.clone());
            return (x0, eps);
        }
        (x0, self.prediction.to_eps(z, at, output))
    }
}

fn alpha_tensor(level: NoiseLevel, batch: usize, device: &Device) -> Tensor<1> {
    Tensor::full([batch], level.alpha(), (device, DType::F32))
}

/// The network's arguments for one step. All tensors are f32.
#[derive(Debug, Clone)]
pub struct DenoiserInput {
    /// The noised latents, `[batch, latents, dim]`.
    pub z: Tensor<3>,
    /// `alpha` of `z = sqrt(alpha) x0 + sqrt(1 - alpha) eps`, equal for the whole batch; `[batch]`.
    pub alpha: Tensor<1>,
    /// For self-conditioning: the estimate `x0` of the step before, `[batch, latents, dim]`.
    /// `None` in the first step.
    pub self_cond: Option<Tensor<3>>,
}

/// All that changes during a sampling run.
#[derive(Debug, Clone)]
pub struct SamplerState {
    z: Tensor<3>,
    step: usize,
    estimate: Option<Estimate>,
}

impl SamplerState {
    /// The latents, `[batch, latents, dim]`: noised during the run, the result after its last step.
    pub fn z(&self) -> &Tensor<3> {
        &self.z
    }

    /// The latest estimate of the clean latents, `[batch, latents, dim]`; `None` before the first
    /// step.
    pub fn x0(&self) -> Option<&Tensor<3>> {
        self.estimate.as_ref().map(|estimate| &estimate.x0)
    }

    /// Number of steps taken.
    pub fn step(&self) -> usize {
        self.step
    }

    /// The noise level that the latest estimate was made at; `None` before the first step.
    pub fn level(&self) -> Option<NoiseLevel> {
        self.estimate.as_ref().map(|estimate| estimate.level)
    }

    /// The latents without the rest of the state.
    pub fn into_z(self) -> Tensor<3> {
        self.z
    }
}
