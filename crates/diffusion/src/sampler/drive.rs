use std::ops::ControlFlow;

use burn::tensor::{Device, Tensor};

use super::{DenoiserInput, SamplerPlan, SamplerState};
use crate::guidance::{Guidance, GuidanceContext, GuidancePair, GuidanceState};
use crate::{DiffusionError, NoiseLevel, NoiseSource};

/// Samples data of `shape` = `[batch, ..]`, in f32.
///
/// `denoise` is the network, with whatever condition and guidance it takes: it gets the noised data and
/// answers with the plan's kind of prediction, of the same shape. `on_step` is called after every step
/// and may stop the run. Nothing here waits for the device.
///
/// # Errors
/// [`DiffusionError::EmptyShape`]; [`DiffusionError::OutputShape`] if `denoise` answers with another
/// shape; [`DiffusionError::Stopped`] if `on_step` broke off before the last step.
pub fn sample<const D: usize>(
    plan: &SamplerPlan,
    shape: [usize; D],
    noise: &mut impl NoiseSource<D>,
    device: &Device,
    denoise: impl FnMut(DenoiserInput<D>) -> Tensor<D>,
    on_step: impl FnMut(StepReport<'_, D>) -> ControlFlow<()>,
) -> Result<Tensor<D>, DiffusionError> {
    let state = begin(plan, shape, noise, device)?;
    Ok(finish(plan, state, noise, denoise, on_step)?.into_z())
}

/// Goes on with a run to its end, as [`sample`] does.
///
/// # Errors
/// [`DiffusionError::OutputShape`] if `denoise` answers with another shape,
/// [`DiffusionError::Stopped`] if `on_step` broke off before the last step.
pub fn finish<const D: usize>(
    plan: &SamplerPlan,
    state: SamplerState<D>,
    noise: &mut impl NoiseSource<D>,
    mut denoise: impl FnMut(DenoiserInput<D>) -> Tensor<D>,
    on_step: impl FnMut(StepReport<'_, D>) -> ControlFlow<()>,
) -> Result<SamplerState<D>, DiffusionError> {
    run(plan, state, noise, |_, input| Ok(denoise(input)), on_step)
}

/// Which prediction a guided run asks the network for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// With the condition.
    Conditional,
    /// Without the condition, or by the weaker model of autoguidance.
    Unconditional,
}

/// Samples as [`sample`] does, with predictions that `guidance` combines. `denoise` is asked for the
/// conditional prediction and, where the guidance needs it, for the unconditional one of the same
/// input.
///
/// # Errors
/// Those of [`sample`], [`Guidance::check`] and [`Guidance::combine`].
pub fn sample_guided<const D: usize>(
    plan: &SamplerPlan,
    shape: [usize; D],
    noise: &mut impl NoiseSource<D>,
    device: &Device,
    guidance: &(impl Guidance<D> + ?Sized),
    mut denoise: impl FnMut(DenoiserInput<D>, Pass) -> Tensor<D>,
    on_step: impl FnMut(StepReport<'_, D>) -> ControlFlow<()>,
) -> Result<Tensor<D>, DiffusionError> {
    guidance.check()?;
    let mut memory = GuidanceState::default();
    let answer = |state: &SamplerState<D>, input: DenoiserInput<D>| {
        let at = GuidanceContext {
            level: input.level,
            z: state.z().clone(),
            prediction: plan.prediction(),
            step: state.step(),
            steps: plan.steps(),
        };
        let needed = guidance.needs_unconditional(at.level, at.step);
        let unconditional = needed.then(|| denoise(input.clone(), Pass::Unconditional));
        let conditional = denoise(input, Pass::Conditional);
        let pair = GuidancePair { conditional, unconditional };
        let (output, after) = guidance.combine(pair, &at, std::mem::take(&mut memory))?;
        memory = after;
        Ok(output)
    };
    let state = begin(plan, shape, noise, device)?;
    Ok(run(plan, state, noise, answer, on_step)?.into_z())
}

fn begin<const D: usize>(
    plan: &SamplerPlan,
    shape: [usize; D],
    noise: &mut impl NoiseSource<D>,
    device: &Device,
) -> Result<SamplerState<D>, DiffusionError> {
    if shape.contains(&0) {
        return Err(DiffusionError::EmptyShape { shape: shape.to_vec() });
    }
    let z = noise.draw(shape, device);
    Ok(plan.start(z, noise))
}

fn run<const D: usize>(
    plan: &SamplerPlan,
    mut state: SamplerState<D>,
    noise: &mut impl NoiseSource<D>,
    mut answer: impl FnMut(&SamplerState<D>, DenoiserInput<D>) -> Result<Tensor<D>, DiffusionError>,
    mut on_step: impl FnMut(StepReport<'_, D>) -> ControlFlow<()>,
) -> Result<SamplerState<D>, DiffusionError> {
    while let Some(input) = plan.denoiser_input(&state) {
        let before = state.step();
        let output = answer(&state, input)?;
        state = plan.step(state, output, noise)?;
        let (step, steps) = (state.step(), plan.steps());
        if step > before
            && let Some(report) = report(plan, &state)
            && on_step(report).is_break()
            && step < steps
        {
            return Err(DiffusionError::Stopped { step, steps });
        }
    }
    Ok(state)
}

/// How far a run has come.
#[derive(Debug, Clone)]
pub struct StepReport<'a, const D: usize = 3> {
    /// Number of steps taken, from 1 to `steps`.
    pub step: usize,
    /// Number of steps of the plan.
    pub steps: usize,
    /// `alpha` of the data that the latest estimate was made from.
    pub alpha: f64,
    /// The level of the data that the latest estimate was made from.
    pub level: NoiseLevel,
    /// The latest estimate of the clean data, `[batch, ..]`. Reading its values waits for the device.
    pub x0: &'a Tensor<D>,
    /// The data after this step, `[batch, ..]`; with churn, the noise that is added before the next
    /// step is already in it. Reading its values waits for the device.
    pub z: &'a Tensor<D>,
}

fn report<'a, const D: usize>(
    plan: &SamplerPlan,
    state: &'a SamplerState<D>,
) -> Option<StepReport<'a, D>> {
    let level = state.level()?;
    Some(StepReport {
        step: state.step(),
        steps: plan.steps(),
        alpha: level.alpha(),
        level,
        x0: state.x0()?,
        z: state.z(),
    })
}
