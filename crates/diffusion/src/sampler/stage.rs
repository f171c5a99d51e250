use crate::{DiffusionError, NoisePoint};

/// How a tensor is made from what a run knows: a sum of known tensors with factors computed on the
/// host.
///
/// Every sampler of this crate is linear in the data `z`, the network's estimates and fresh noise, so
/// that its whole arithmetic fits into these factors. They are computed once, in f64.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Update {
    /// Factor of the data `z` that the network saw.
    pub z: f64,
    /// Factor of the kept tensor, see [`Stage::keep`].
    pub kept: f64,
    /// Factors of the estimates of `x0`: of this network call first, then of the calls before.
    pub x0: Vec<f64>,
    /// Factors of the estimates of `eps`: of this network call first, then of the calls before.
    pub eps: Vec<f64>,
    /// Factor of fresh standard normal noise; none is drawn where it is 0.
    pub noise: f64,
}

impl Update {
    /// `x0_factor x0 + eps_factor eps` of this call's estimates, plus `noise` times fresh noise.
    pub fn estimate(x0_factor: f64, eps_factor: f64, noise: f64) -> Self {
        Self { x0: vec![x0_factor], eps: vec![eps_factor], noise, ..Self::default() }
    }

    /// This update, then scaled by `factor`, then with more `noise` (in place of its own, which must
    /// be none) or with as much as both together.
    pub(crate) fn then_renoise(mut self, factor: f64, noise: f64) -> Self {
        let scaled = self.noise * factor;
        self.z *= factor;
        self.kept *= factor;
        self.x0.iter_mut().chain(&mut self.eps).for_each(|estimate| *estimate *= factor);
        self.noise = scaled.hypot(noise);
        self
    }

    fn is_finite(&self) -> bool {
        let factors = [self.z, self.kept, self.noise];
        factors.iter().chain(&self.x0).chain(&self.eps).all(|factor| factor.is_finite())
    }
}

/// One network call and what follows from its answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// Where the network is called.
    pub at: NoisePoint,
    /// What is to be kept from here on for later stages, if anything; made before
    /// [`next`](Self::next), whose `kept` then means this. Heun keeps the data before its first
    /// guess, UniPC the corrected data.
    pub keep: Option<Update>,
    /// The data after this stage.
    pub next: Update,
    /// Whether a step ends here; a sampler with two calls a step has stages between.
    pub ends_step: bool,
}

/// All stages of a run, as a [`Sampler`](super::Sampler) plans them.
#[derive(Debug, Clone, PartialEq)]
pub struct Stages {
    /// Factor of the initial data and noise that is added to it before the first stage.
    pub opening: Option<(f64, f64)>,
    /// The stages in their order.
    pub stages: Vec<Stage>,
}

impl Stages {
    /// One network call for each step from a point to the next.
    ///
    /// # Errors
    /// What `update` returns; it gets the number of the step, its first and its last point.
    pub fn one_call_a_step(
        points: &[NoisePoint],
        mut update: impl FnMut(usize, &NoisePoint, &NoisePoint) -> Result<Update, DiffusionError>,
    ) -> Result<Self, DiffusionError> {
        let step = |(step, pair): (usize, &[NoisePoint])| {
            let next = update(step, &pair[0], &pair[1])?;
            Ok(Stage { at: pair[0], keep: None, next, ends_step: true })
        };
        let stages = points.windows(2).enumerate().map(step).collect::<Result<_, _>>()?;
        Ok(Self { opening: None, stages })
    }

    /// Tells of factors that are not finite: the sampler can't start at pure noise, say.
    pub(crate) fn check(&self, sampler: &dyn super::Sampler) -> Result<(), DiffusionError> {
        let finite = |stage: &Stage| {
            stage.next.is_finite() && stage.keep.as_ref().is_none_or(Update::is_finite)
        };
        match self.stages.iter().find(|stage| !finite(stage)) {
            None => Ok(()),
            Some(stage) => Err(DiffusionError::Unreachable {
                sampler: format!("{sampler:?}"),
                log_snr: stage.at.level.log_snr(),
                time: stage.at.time,
            }),
        }
    }
}
