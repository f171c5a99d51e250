//! Guidance: combining what a network predicts with a condition and without it, or with the output
//! of a weaker network, or with the gradient of a score, into one prediction.
//!
//! A [`Guidance`] is an object that combines predictions at one noise level; all of its settings are
//! fixed when it is made. What it must remember between steps lies in a [`GuidanceState`], which the
//! run holds. [`GuidanceConfig`] is the form that settings files hold. One file each:
//!
//! | kind | source |
//! |---|---|
//! | [`ClassifierFree`] | Ho and Salimans, 2022; LD4LG |
//! | [`Autoguidance`] | Karras et al., 2024 |
//! | [`AdaptiveProjected`] (APG) | Sadat et al., 2024 |
//! | [`ZeroStar`] (CFG-Zero*) | Fan et al., 2025 |
//! | [`Rescaled`] around any other | Lin et al., 2023 |
//! | [`Interval`] around any other | Kynkäänniemi et al., 2024 |
//! | [`ScoreGradient`] around any other | Dhariwal and Nichol, 2021; Song et al., 2021 |
//!
//! Guidance acts on the network's outputs, before they are converted to `x0`. For
//! [`ClassifierFree`], [`Autoguidance`], [`AdaptiveProjected`] and [`ScoreGradient`] the result does
//! not depend on what the network predicts; for [`ZeroStar`] and [`Rescaled`] it does.

mod autoguidance;
mod classifier_free;
mod config;
mod gradient;
mod interval;
mod projected;
mod rescaled;
mod samples;
mod zero_star;

use std::fmt::Debug;

use burn::tensor::{FloatDType, Tensor};

pub use autoguidance::Autoguidance;
pub use classifier_free::ClassifierFree;
pub use config::GuidanceConfig;
pub use gradient::ScoreGradient;
pub use interval::{Interval, NoiseInterval};
pub use projected::AdaptiveProjected;
pub use rescaled::Rescaled;
pub use zero_star::ZeroStar;

use crate::checks::require;
use crate::{DiffusionError, NoiseLevel, Prediction};

/// What a network answered for the same `z`, each of shape `[batch, ..]`, any float type.
#[derive(Debug, Clone)]
pub struct GuidancePair<const D: usize> {
    /// With the condition (for [`Autoguidance`]: the output of the better model).
    pub conditional: Tensor<D>,
    /// Without the condition: with the null class and no context (for [`Autoguidance`]: the output
    /// of the weaker model). `None` where [`Guidance::needs_unconditional`] said that it may be.
    pub unconditional: Option<Tensor<D>>,
}

/// Where in a sampling run predictions are combined.
#[derive(Debug, Clone)]
pub struct GuidanceContext<const D: usize> {
    /// The noise level of `z`.
    pub level: NoiseLevel,
    /// The noised data that the network was asked about, `[batch, ..]`.
    pub z: Tensor<D>,
    /// What the network predicts.
    pub prediction: Prediction,
    /// The step, counted from 0.
    pub step: usize,
    /// Steps of the whole run.
    pub steps: usize,
}

/// What a guidance remembers from one step of a run to the next; the default is the start of a run.
#[derive(Debug, Clone)]
pub struct GuidanceState<const D: usize> {
    /// A running tensor of shape `[batch, ..]`, f32: the momentum of [`AdaptiveProjected`], in terms
    /// of `x0`. The other guidances of this crate leave it alone.
    pub running: Option<Tensor<D>>,
}

impl<const D: usize> Default for GuidanceState<D> {
    fn default() -> Self {
        Self { running: None }
    }
}

/// Combines predictions into one, for tensors of rank `D`.
///
/// Implementations treat every sample of a batch on its own and never wait for the device. Those of
/// this crate compute in f32.
pub trait Guidance<const D: usize>: Debug + Send + Sync {
    /// Checks the settings; to be called once, before a run.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] for a setting that is out of range or not a finite number.
    fn check(&self) -> Result<(), DiffusionError>;

    /// Whether [`combine`](Self::combine) needs the unconditional prediction at this level and this
    /// step, counted from 0. If not, the pass through the network may be left out.
    fn needs_unconditional(&self, level: NoiseLevel, step: usize) -> bool;

    /// The guided prediction, f32, of the same kind and shape as the conditional one, and the state
    /// for the next step.
    ///
    /// # Errors
    /// [`DiffusionError::MissingUnconditional`] if the unconditional prediction is needed but not
    /// there, [`DiffusionError::GuidanceShape`] for tensors whose shapes differ.
    fn combine(
        &self,
        predictions: GuidancePair<D>,
        at: &GuidanceContext<D>,
        state: GuidanceState<D>,
    ) -> Result<(Tensor<D>, GuidanceState<D>), DiffusionError>;
}

impl<const D: usize, G: Guidance<D> + ?Sized> Guidance<D> for Box<G> {
    fn check(&self) -> Result<(), DiffusionError> {
        (**self).check()
    }

    fn needs_unconditional(&self, level: NoiseLevel, step: usize) -> bool {
        (**self).needs_unconditional(level, step)
    }

    fn combine(
        &self,
        predictions: GuidancePair<D>,
        at: &GuidanceContext<D>,
        state: GuidanceState<D>,
    ) -> Result<(Tensor<D>, GuidanceState<D>), DiffusionError> {
        (**self).combine(predictions, at, state)
    }
}

impl<const D: usize> GuidancePair<D> {
    /// Both predictions in f32, of the same shape.
    fn both(
        self,
        guidance: &'static str,
        at: &GuidanceContext<D>,
    ) -> Result<(Tensor<D>, Tensor<D>), DiffusionError> {
        let Some(unconditional) = self.unconditional else {
            return Err(DiffusionError::MissingUnconditional { guidance, step: at.step });
        };
        check_shape(guidance, "the unconditional prediction", &unconditional, &self.conditional)?;
        Ok((self.conditional.cast(FloatDType::F32), unconditional.cast(FloatDType::F32)))
    }
}

fn check_shape<const D: usize>(
    guidance: &'static str,
    what: &'static str,
    tensor: &Tensor<D>,
    conditional: &Tensor<D>,
) -> Result<(), DiffusionError> {
    let (shape, expected) = (tensor.dims(), conditional.dims());
    if shape == expected {
        return Ok(());
    }
    let (shape, expected) = (shape.to_vec(), expected.to_vec());
    Err(DiffusionError::GuidanceShape { guidance, what, shape, expected })
}

/// `other + scale (conditional - other)`; a scale of 1 does not need the other prediction.
fn extrapolated<const D: usize>(
    guidance: &'static str,
    scale: f64,
    predictions: GuidancePair<D>,
    at: &GuidanceContext<D>,
) -> Result<Tensor<D>, DiffusionError> {
    if scale == 1.0 {
        return Ok(predictions.conditional.cast(FloatDType::F32));
    }
    let (conditional, other) = predictions.both(guidance, at)?;
    Ok(extrapolate(conditional, other, scale))
}

/// `unconditional + scale (conditional - unconditional)`.
fn extrapolate<const D: usize>(
    conditional: Tensor<D>,
    unconditional: Tensor<D>,
    scale: f64,
) -> Tensor<D> {
    unconditional.clone() + (conditional - unconditional) * scale
}

fn check_finite(
    guidance: &'static str,
    setting: &'static str,
    value: f64,
) -> Result<(), DiffusionError> {
    require(value.is_finite(), guidance, setting, value, "it must be a finite number")
}
