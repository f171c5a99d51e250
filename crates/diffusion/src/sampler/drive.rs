use std::ops::ControlFlow;

use burn::tensor::{Device, Tensor};

use super::{DenoiserInput, SamplerPlan, SamplerState};
use crate::{DiffusionError, NoiseSource};

/// Samples latents of `shape` = `[batch, latents, dim]`, in f32.
///
/// `denoise` is the network, with whatever condition and guidance it takes: it gets the noised
/// latents and answers with the plan's kind of prediction, `[batch, latents, dim]`. `on_step` is
/// called after every step and may stop the run. Nothing here waits for the device.
///
/// # Errors
/// [`DiffusionError::EmptyShape`], or [`DiffusionError::Stopped`] if `on_step` broke off before
/// the last step.
///
/// # Panics
/// If `denoise` answers with another shape than that of the latents.
pub fn sample(
    plan: &SamplerPlan,
    shape: [usize; 3],
    noise: &mut impl NoiseSource,
    device: &Device,
    mut denoise: impl FnMut(DenoiserInput) -> Tensor<3>,
    mut on_step: impl FnMut(StepReport<'_>) -> ControlFlow<()>,
) -> Result<Tensor<3>, DiffusionError> {
    if shape.contains(&0) {
        return Err(DiffusionError::EmptyShape { shape });
    }
    let mut state = plan.start(noise.draw(shape, device));
    while let Some(input) = plan.denoiser_input(&state) {
        state = plan.step(state, denoise(input), noise);
        let (step, steps) = (state.step(), plan.steps());
        if let Some(report) = report(plan, &state)
            && on_step(report).is_break()
            && step < steps
        {
            return Err(DiffusionError::Stopped { step, steps });
        }
    }
    Ok(state.into_z())
}

/// How far a run has come.
#[derive(Debug, Clone)]
pub struct StepReport<'a> {
    /// Number of steps taken, from 1 to `steps`.
    pub step: usize,
    /// Number of steps of the plan.
    pub steps: usize,
    /// `alpha` of the latents that the latest estimate was made from.
    pub alpha: f64,
    /// The latest estimate of the clean latents, `[batch, latents, dim]`. Reading its values waits
    /// for the device.
    pub x0: &'a Tensor<3>,
}

fn report<'a>(plan: &SamplerPlan, state: &'a SamplerState) -> Option<StepReport<'a>> {
    Some(StepReport {
        step: state.step(),
        steps: plan.steps(),
        alpha: state.level()?.alpha(),
        x0: state.x0()?,
    })
}
