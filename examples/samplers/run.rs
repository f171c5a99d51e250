//! Runs a plan with the exact denoiser in the place of a network.

use std::ops::ControlFlow;

use burn::tensor::{Device, Tensor};
use latent_text::diffusion::sampler::finish;
use latent_text::diffusion::{
    DenoiserInput, DiffusionError, NoiseLevel, Prediction, SampleNoise, SamplerPlan,
};

use crate::mixture;

/// A run: where it starts, and its points after every step.
pub struct Run {
    pub plan: SamplerPlan,
    pub prediction: Prediction,
    noise: SampleNoise,
}

impl Run {
    pub fn new(plan: SamplerPlan, prediction: Prediction, seed: u64, points: u64) -> Self {
        Self { plan, prediction, noise: SampleNoise::new(seed, 0..points) }
    }

    /// Standard normal noise, `[points, 2]`; the same for every run of a seed.
    pub fn initial_noise(&mut self, points: u64, device: &Device) -> Tensor<2> {
        self.noise.normal([points as usize, 2], device)
    }

    /// From `initial`, noise or data, to the other end; returns the start in the plan's own scale and
    /// the end. `on_step` gets what `z` is after each step.
    pub fn go(
        mut self,
        initial: Tensor<2>,
        mut on_step: impl FnMut(&Tensor<2>),
    ) -> Result<[Tensor<2>; 2], DiffusionError> {
        let state = self.plan.start(initial, &mut self.noise);
        let start = state.z().clone();
        let denoise = |input: DenoiserInput<2>| exact_answer(self.prediction, input);
        let end = finish(&self.plan, state, &mut self.noise, denoise, |report| {
            on_step(report.z);
            ControlFlow::Continue(())
        })?;
        Ok([start, end.into_z()])
    }
}

/// What the best possible network answers.
fn exact_answer(prediction: Prediction, input: DenoiserInput<2>) -> Tensor<2> {
    let z = input.z / prediction.input_scale(input.level);
    let (x0, eps) = mixture::estimates(z, input.level);
    prediction.target(x0, eps, input.level)
}

/// The size of noised data of about unit variance.
pub fn size(level: NoiseLevel) -> f64 {
    level.signal().hypot(level.noise())
}
