//! Samplers: from noise to latents in a fixed number of steps.
//!
//! [`sample`] runs a [`SamplerPlan`] from start to end. The plan is immutable and can be shared;
//! all that changes during a run is in [`SamplerState`]. A sampler is one implementation of
//! [`Sampler`], in a file of its own, with a name in [`SamplerKind`].

mod ddim;
mod ddpm;
mod drive;
mod plan;

use std::fmt::{self, Debug, Display};
use std::str::FromStr;
use std::sync::Arc;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

pub use ddim::Ddim;
pub use ddpm::Ddpm;
pub use drive::{StepReport, sample};
pub use plan::{DenoiserInput, SamplerPlan, SamplerState};

use crate::{DiffusionError, NoiseLevel};

/// One step from a noise level to the next lower one.
pub trait Sampler: Debug + Send + Sync {
    /// The latents at the level `transition.to`, `[batch, latents, dim]`.
    ///
    /// `noise` draws standard normal noise of that shape; a deterministic sampler does not call
    /// it. Never called for the last step of a run, whose result is the estimate `x0` itself.
    fn step(&self, transition: Transition, noise: &mut dyn FnMut() -> Tensor<3>) -> Tensor<3>;
}

/// What a [`Sampler`] knows about the step that it is to take. The latents before the step are
/// `from.signal() * x0 + from.noise() * eps`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Transition {
    /// The level of the latents before the step.
    pub from: NoiseLevel,
    /// The level after the step.
    pub to: NoiseLevel,
    /// The network's estimate of the clean latents, `[batch, latents, dim]`.
    pub x0: Tensor<3>,
    /// The network's estimate of the noise, `[batch, latents, dim]`.
    pub eps: Tensor<3>,
    /// The estimate of the step before, for multistep samplers; `None` in the first step.
    pub previous: Option<Estimate>,
}

/// An estimate of the clean latents and the noise level that it was made at.
#[derive(Debug, Clone)]
pub struct Estimate {
    /// The level of the latents that the network saw.
    pub level: NoiseLevel,
    /// The estimate, `[batch, latents, dim]`.
    pub x0: Tensor<3>,
}

/// The samplers by name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SamplerKind {
    /// [`Ddpm`], the default of LD4LG.
    #[default]
    Ddpm,
    /// [`Ddim`].
    Ddim,
}

impl SamplerKind {
    /// All samplers.
    pub const ALL: &[Self] = &[Self::Ddpm, Self::Ddim];

    /// The name in settings and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ddpm => "ddpm",
            Self::Ddim => "ddim",
        }
    }

    fn sampler(self) -> Arc<dyn Sampler> {
        match self {
            Self::Ddpm => Arc::new(Ddpm),
            Self::Ddim => Arc::new(Ddim),
        }
    }
}

impl Display for SamplerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for SamplerKind {
    type Err = DiffusionError;

    fn from_str(name: &str) -> Result<Self, DiffusionError> {
        let named = Self::ALL.iter().find(|kind| kind.name() == name);
        named.copied().ok_or_else(|| DiffusionError::UnknownSampler {
            name: name.into(),
            known: Self::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", "),
        })
    }
}
