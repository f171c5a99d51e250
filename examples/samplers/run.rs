//! Runs a plan with the exact denoiser in the place of a network.
//!
//! Points at a noise level are given as `z / sqrt(signal^2 + noise^2)`, which is the same in every
//! process.

use std::ops::ControlFlow;

use anyhow::Result;
use burn::tensor::{DType, Device, Tensor, TensorData};
use latent_text::diffusion::sampler::finish;
use latent_text::diffusion::{
    DenoiserInput, NoiseLevel, Prediction, SampleNoise, SamplerPlan, SamplerState,
};

use crate::mixture::{self, Point};

pub struct Run {
    plan: SamplerPlan,
    prediction: Prediction,
    noise: SampleNoise,
    /// Standard normal, `[points, 2]`; the same for all runs of a seed.
    initial: Tensor<2>,
}

impl Run {
    pub fn new(
        plan: SamplerPlan,
        prediction: Prediction,
        seed: u64,
        points: u64,
        device: &Device,
    ) -> Self {
        let mut noise = SampleNoise::new(seed, 0..points);
        let initial = noise.normal([points as usize, 2], device);
        Self { plan, prediction, noise, initial }
    }

    /// The level of the most noise, which churn may have raised.
    pub fn first_level(&self) -> NoiseLevel {
        let first = self.plan.stages()[0].at.level;
        match first.noise() {
            0.0 => self.plan.points()[0].level,
            _ => first,
        }
    }

    /// The noise that a run starts from.
    pub fn initial_points(&self) -> Result<Vec<Point>> {
        let state = self.plan.start(self.initial.clone(), &mut self.noise.clone());
        to_points(state.into_z(), self.first_level())
    }

    /// Where the samples end; `on_step` gets the data after every step.
    pub fn sample(mut self, on_step: impl FnMut(&Tensor<2>)) -> Result<Vec<Point>> {
        let state = self.plan.start(self.initial.clone(), &mut self.noise);
        self.finish(state, NoiseLevel::DATA, on_step)
    }

    /// Where an inversion of `data` ends.
    pub fn invert(mut self, data: &[Point], on_step: impl FnMut(&Tensor<2>)) -> Result<Vec<Point>> {
        let values: Vec<f32> = data.iter().flatten().map(|&x| x as f32).collect();
        let to = (&self.initial.device(), DType::F32);
        let data = Tensor::from_data(TensorData::new(values, [data.len(), 2]), to);
        let state = self.plan.start(data, &mut self.noise);
        let last = self.first_level();
        self.finish(state, last, on_step)
    }

    fn finish(
        mut self,
        state: SamplerState<2>,
        last: NoiseLevel,
        mut on_step: impl FnMut(&Tensor<2>),
    ) -> Result<Vec<Point>> {
        let denoise = |input: DenoiserInput<2>| exact_answer(self.prediction, input);
        let end = finish(&self.plan, state, &mut self.noise, denoise, |report| {
            on_step(report.z);
            ControlFlow::Continue(())
        })?;
        to_points(end.into_z(), last)
    }
}

/// What the best possible network answers.
fn exact_answer(prediction: Prediction, input: DenoiserInput<2>) -> Tensor<2> {
    let z = input.z / prediction.input_scale(input.level);
    let (x0, eps) = mixture::estimates(z, input.level);
    prediction.target(x0, eps, input.level)
}

/// Reads noised data from the device.
pub fn to_points(z: Tensor<2>, level: NoiseLevel) -> Result<Vec<Point>> {
    let values = (z / level.signal().hypot(level.noise())).into_data().try_to_vec::<f32>()?;
    Ok(values.chunks_exact(2).map(|xy| [f64::from(xy[0]), f64::from(xy[1])]).collect())
}
