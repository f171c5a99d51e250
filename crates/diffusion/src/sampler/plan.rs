use std::sync::Arc;

use burn::tensor::{DType, FloatDType, Tensor};

use super::{Sampler, SamplerKind, SamplerState, Stage, Stages, Update};
use crate::estimate::X0Correction;
use crate::level::Factor;
use crate::{
    DiffusionError, Family, NoiseFactors, NoiseLevel, NoisePoint, NoiseSchedule, NoiseSource,
    Prediction, Spacing,
};

/// How to sample: where the network is called, what it predicts, and the factors of every step.
///
/// Immutable; one plan serves any number of runs at once. A run is driven by
/// [`sample`](super::sample), or call by call through [`start`](Self::start),
/// [`denoiser_input`](Self::denoiser_input) and [`step`](Self::step).
#[derive(Debug, Clone)]
pub struct SamplerPlan {
    points: Vec<NoisePoint>,
    stages: Stages,
    prediction: Prediction,
    corrections: Vec<X0Correction>,
    /// Factor of the standard normal noise that a run starts from.
    initial_scale: f64,
    /// How many estimates of `x0` and of `eps` are remembered.
    remembered: [usize; 2],
}

impl SamplerPlan {
    /// A plan of `steps` steps at the uniform times `1 - i / steps`, down to the data.
    ///
    /// # Errors
    /// [`DiffusionError::NoSteps`] if `steps` is 0, and what [`from_points`](Self::from_points) returns.
    pub fn new(
        schedule: &NoiseSchedule,
        sampler: SamplerKind,
        prediction: Prediction,
        steps: usize,
    ) -> Result<Self, DiffusionError> {
        Self::with_sampler(schedule, sampler.sampler(), prediction, &Spacing::Uniform, steps)
    }

    /// A plan with any sampler and spacing.
    ///
    /// # Errors
    /// Those of the spacing, and what [`from_points`](Self::from_points) returns.
    pub fn with_sampler(
        schedule: &NoiseSchedule,
        sampler: Arc<dyn Sampler>,
        prediction: Prediction,
        spacing: &Spacing,
        steps: usize,
    ) -> Result<Self, DiffusionError> {
        let points = spacing.points(schedule, steps)?;
        let mut plan = Self::from_points(points, &*sampler, prediction)?;
        for stage in &mut plan.stages.stages {
            let own = |point: &NoisePoint| point.level == stage.at.level;
            if !plan.points.iter().any(own) {
                stage.at.time = schedule.time_of(stage.at.level.log_snr());
            }
        }
        Ok(plan)
    }

    /// A plan through points of the caller's: a step from each to the next. Where a sampler calls the
    /// network at a level between them (churn), it gets the time of the step's start.
    ///
    /// # Errors
    /// [`DiffusionError::PointOrder`] if the points are fewer than two or their noise does not fall;
    /// settings of the sampler out of range; [`DiffusionError::Unreachable`] if the sampler has no
    /// finite step between two of the points; [`DiffusionError::NoiseFromData`] for a network that
    /// can't tell the noise where a run starts from data.
    pub fn from_points(
        points: Vec<NoisePoint>,
        sampler: &dyn Sampler,
        prediction: Prediction,
    ) -> Result<Self, DiffusionError> {
        check_order(&points)?;
        let stages = sampler.stages(&points)?;
        stages.check(sampler)?;
        let first = stages.stages[0].at.level;
        if prediction == Prediction::X0 && first.noise() == 0.0 {
            return Err(DiffusionError::NoiseFromData);
        }
        let initial_scale = match first.family() {
            _ if sampler.starts_from_data() => 1.0,
            Family::VariancePreserving => 1.0,
            Family::VarianceExploding | Family::RectifiedFlow => first.noise(),
        };
        let remembered =
            [remembered(&stages, |u| u.x0.len()), remembered(&stages, |u| u.eps.len())];
        Ok(Self { points, stages, prediction, corrections: vec![], initial_scale, remembered })
    }

    /// Whether every vector of each estimate `x0` is rescaled to the norm `sqrt(dim)`: short for
    /// [`correct_x0`](Self::correct_x0) with [`X0Correction::NormRescale`]. For models of l2-normalised
    /// latents, above all with strong guidance.
    pub fn rescale_x0(self, rescale_x0: bool) -> Self {
        match rescale_x0 {
            true => self.with_correction(X0Correction::NormRescale),
            false => self,
        }
    }

    /// Corrects each estimate `x0`, after other corrections; `eps` is recomputed from the result.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] for settings of the correction out of range.
    pub fn correct_x0(self, correction: X0Correction) -> Result<Self, DiffusionError> {
        correction.check()?;
        Ok(self.with_correction(correction))
    }

    fn with_correction(mut self, correction: X0Correction) -> Self {
        self.corrections.push(correction);
        self
    }

    /// What the network predicts.
    pub fn prediction(&self) -> Prediction {
        self.prediction
    }

    /// Number of steps.
    pub fn steps(&self) -> usize {
        self.points.len() - 1
    }

    /// Number of network calls.
    pub fn calls(&self) -> usize {
        self.stages.stages.len()
    }

    /// The points between the steps, noise first.
    pub fn points(&self) -> &[NoisePoint] {
        &self.points
    }

    /// The stages: one for each network call.
    pub fn stages(&self) -> &[Stage] {
        &self.stages.stages
    }

    /// The state before the first call, from standard normal `z` of shape `[batch, ..]` (or from data,
    /// for [`DdimInversion`](super::DdimInversion)). `noise` is drawn from if there is churn.
    pub fn start<const D: usize>(
        &self,
        z: Tensor<D>,
        noise: &mut impl NoiseSource<D>,
    ) -> SamplerState<D> {
        let mut z = z.cast(FloatDType::F32) * self.initial_scale;
        if let Some((scale, added)) = self.stages.opening {
            let (shape, device) = (z.dims(), z.device());
            z = z * scale + noise.draw(shape, &device) * added;
        }
        SamplerState { z, kept: None, x0: vec![], eps: vec![], level: None, calls: 0, step: 0 }
    }

    /// What the network is to be given next; `None` after the last call.
    pub fn denoiser_input<const D: usize>(
        &self,
        state: &SamplerState<D>,
    ) -> Option<DenoiserInput<D>> {
        let NoisePoint { time, level } = self.stages.stages.get(state.calls)?.at;
        let batch = state.z.dims()[0];
        let z = match self.prediction.input_scale(level) {
            1.0 => state.z.clone(),
            scale => state.z.clone() * scale,
        };
        let alpha = Tensor::full([batch], level.alpha(), (&state.z.device(), DType::F32));
        Some(DenoiserInput { z, alpha, level, time, self_cond: state.x0().cloned() })
    }

    /// Goes on with `output`, the network's answer for [`denoiser_input`](Self::denoiser_input).
    ///
    /// # Errors
    /// [`DiffusionError::OutputShape`] if `output` does not have the shape of the data.
    ///
    /// # Panics
    /// If the run is over.
    pub fn step<const D: usize>(
        &self,
        state: SamplerState<D>,
        output: Tensor<D>,
        noise: &mut impl NoiseSource<D>,
    ) -> Result<SamplerState<D>, DiffusionError> {
        let SamplerState { z, kept, mut x0, mut eps, calls, step, .. } = state;
        assert!(calls < self.calls(), "the run has made all its {calls} network calls");
        if output.dims() != z.dims() {
            let (expected, found) = (z.dims().to_vec(), output.dims().to_vec());
            return Err(DiffusionError::OutputShape { expected, found });
        }

        let Stage { at, keep, next, ends_step } = &self.stages.stages[calls];
        let answer = self.answer(z, at.level, output);
        remember(&mut x0, self.remembered[0].max(1), answer.x0.clone());
        if self.remembered[1] > 1 {
            remember(&mut eps, self.remembered[1], answer.eps());
        }
        let kept = match keep {
            Some(keep) => Some(answer.apply(keep, kept.as_ref(), [&x0, &eps], noise)),
            None => kept,
        };
        let z = answer.apply(next, kept.as_ref(), [&x0, &eps], noise);
        let step = step + usize::from(*ends_step);
        Ok(SamplerState { z, kept, x0, eps, level: Some(at.level), calls: calls + 1, step })
    }

    fn answer<const D: usize>(
        &self,
        z: Tensor<D>,
        level: NoiseLevel,
        output: Tensor<D>,
    ) -> Answer<D> {
        let output = output.cast(FloatDType::F32);
        let x0 = self.prediction.to_x0(z.clone(), level, output.clone());
        if self.corrections.is_empty() {
            return Answer { prediction: self.prediction, level, z, output, x0 };
        }
        let x0 = self.corrections.iter().fold(x0, |x0, correction| correction.apply(x0));
        Answer { prediction: Prediction::X0, level, z, output: x0.clone(), x0 }
    }
}

fn check_order(points: &[NoisePoint]) -> Result<(), DiffusionError> {
    if points.len() < 2 {
        return Err(DiffusionError::NoSteps);
    }
    let mut before = f64::NEG_INFINITY;
    for (index, point) in points.iter().enumerate() {
        let log_snr = point.level.log_snr();
        let rises = log_snr > before || (index == 0 && log_snr == before);
        if !rises || !point.time.is_finite() {
            return Err(DiffusionError::PointOrder { index, log_snr, before });
        }
        before = log_snr;
    }
    Ok(())
}

/// The most estimates that any update looks back to.
fn remembered(stages: &Stages, length: impl Fn(&Update) -> usize) -> usize {
    let updates = stages.stages.iter().flat_map(|stage| stage.keep.iter().chain([&stage.next]));
    updates.map(length).max().unwrap_or(0)
}

fn remember<const D: usize>(estimates: &mut Vec<Tensor<D>>, most: usize, newest: Tensor<D>) {
    estimates.truncate(most - 1);
    estimates.insert(0, newest);
}

/// The network's answer, read as `prediction`, and what it was asked about.
struct Answer<const D: usize> {
    prediction: Prediction,
    level: NoiseLevel,
    z: Tensor<D>,
    output: Tensor<D>,
    x0: Tensor<D>,
}

impl<const D: usize> Answer<D> {
    fn eps(&self) -> Tensor<D> {
        self.prediction.to_eps(self.z.clone(), self.level, self.output.clone())
    }

    /// The sum that `update` asks for. The newest estimates are written out in `z` and the output, so
    /// that a first-order step costs two products and a sum.
    fn apply(
        &self,
        update: &Update,
        kept: Option<&Tensor<D>>,
        [x0, eps]: [&[Tensor<D>]; 2],
        noise: &mut impl NoiseSource<D>,
    ) -> Tensor<D> {
        let level = NoiseFactors::from(self.level);
        let [x0_of_z, x0_of_output] = shared(self.prediction.x0_factors(level.clone()));
        let [eps_of_z, eps_of_output] = shared(self.prediction.eps_factors(level));
        let newest = |factors: &[f64]| factors.first().copied().unwrap_or(0.0);
        let [x0_factor, eps_factor] = [newest(&update.x0), newest(&update.eps)];
        let of_z = update.z + x0_factor * x0_of_z + eps_factor * eps_of_z;
        let of_output = x0_factor * x0_of_output + eps_factor * eps_of_output;

        let older = |factors: &[f64], estimates: &[Tensor<D>]| -> Vec<(f64, Tensor<D>)> {
            factors.iter().copied().zip(estimates.iter().cloned()).skip(1).collect()
        };
        let mut terms = vec![(of_z, self.z.clone()), (of_output, self.output.clone())];
        terms.extend(kept.map(|kept| (update.kept, kept.clone())));
        terms.extend(older(&update.x0, x0));
        terms.extend(older(&update.eps, eps));
        if update.noise != 0.0 {
            terms.push((update.noise, noise.draw(self.z.dims(), &self.z.device())));
        }
        let products =
            terms.into_iter().filter_map(|(factor, term)| Factor::Shared(factor).times(term));
        products.reduce(|sum, product| sum + product).unwrap_or_else(|| self.z.zeros_like())
    }
}

/// The numbers of factors that were made from one level for the whole batch.
fn shared(factors: [Factor; 2]) -> [f64; 2] {
    factors.map(|factor| match factor {
        Factor::Shared(factor) => factor,
        Factor::PerSample(_) => unreachable!("one level gives shared factors"),
    })
}

/// The network's arguments for one call. All tensors are f32.
#[derive(Debug, Clone)]
pub struct DenoiserInput<const D: usize = 3> {
    /// The noised data, `[batch, ..]`, times [`Prediction::input_scale`].
    pub z: Tensor<D>,
    /// `alpha` of the level, equal for the whole batch; `[batch]`. See [`NoiseLevel::alpha`].
    pub alpha: Tensor<1>,
    /// The noise level of `z`.
    pub level: NoiseLevel,
    /// The schedule's time of that level, from 0 (data) to 1 (noise).
    pub time: f64,
    /// For self-conditioning: the estimate `x0` of the call before, `[batch, ..]`. `None` in the first
    /// call.
    pub self_cond: Option<Tensor<D>>,
}
