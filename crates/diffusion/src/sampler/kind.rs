use std::fmt::{self, Display};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Ddim, Ddpm, Deis, DpmSolverPp, DpmppAsReference, Euler, EulerAncestral, FlowHeun, Heun, Lcm,
    Order, Sampler, UniPc, Variance,
};
use crate::DiffusionError;

/// The samplers that go from noise to data, by name, each with its default settings. For others make the sampler itself and hand it
/// to [`SamplerPlan::with_sampler`](super::SamplerPlan::with_sampler).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SamplerKind {
    /// [`Ddpm`] with the larger variance, the default of LD4LG.
    #[default]
    Ddpm,
    /// [`Ddpm`] with the smaller variance.
    DdpmSmall,
    /// [`Ddim`] without noise.
    Ddim,
    /// [`DpmSolverPp`] of the second order.
    Dpmpp2m,
    /// [`DpmSolverPp`] of the third order.
    Dpmpp3m,
    /// [`DpmSolverPp`] of the second order with noise.
    SdeDpmpp2m,
    /// [`UniPc`] of the second order.
    Unipc,
    /// [`Deis`] of the second order.
    Deis,
    /// [`Euler`] without churn, which is the same as [`Ddim`].
    Euler,
    /// [`EulerAncestral`].
    EulerAncestral,
    /// [`Heun`] without churn: two network calls a step.
    Heun,
    /// [`FlowHeun`]: two network calls a step.
    FlowHeun,
    /// [`Lcm`].
    Lcm,
    /// [`DpmppAsReference`].
    DpmppAsReference,
}

impl SamplerKind {
    /// All samplers.
    pub const ALL: &[Self] = &[
        Self::Ddpm,
        Self::DdpmSmall,
        Self::Ddim,
        Self::Dpmpp2m,
        Self::Dpmpp3m,
        Self::SdeDpmpp2m,
        Self::Unipc,
        Self::Deis,
        Self::Euler,
        Self::EulerAncestral,
        Self::Heun,
        Self::FlowHeun,
        Self::Lcm,
        Self::DpmppAsReference,
    ];

    /// The name in settings and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ddpm => "ddpm",
            Self::DdpmSmall => "ddpm_small",
            Self::Ddim => "ddim",
            Self::Dpmpp2m => "dpmpp2m",
            Self::Dpmpp3m => "dpmpp3m",
            Self::SdeDpmpp2m => "sde_dpmpp2m",
            Self::Unipc => "unipc",
            Self::Deis => "deis",
            Self::Euler => "euler",
            Self::EulerAncestral => "euler_ancestral",
            Self::Heun => "heun",
            Self::FlowHeun => "flow_heun",
            Self::Lcm => "lcm",
            Self::DpmppAsReference => "dpmpp_as_reference",
        }
    }

    /// The sampler with its default settings.
    pub fn sampler(self) -> Arc<dyn Sampler> {
        match self {
            Self::Ddpm => Arc::new(Ddpm::default()),
            Self::DdpmSmall => Arc::new(Ddpm { variance: Variance::Small }),
            Self::Ddim => Arc::new(Ddim::default()),
            Self::Dpmpp2m => Arc::new(DpmSolverPp::default()),
            Self::Dpmpp3m => Arc::new(DpmSolverPp { order: Order::Three, ..Default::default() }),
            Self::SdeDpmpp2m => Arc::new(DpmSolverPp { eta: 1.0, ..Default::default() }),
            Self::Unipc => Arc::new(UniPc::default()),
            Self::Deis => Arc::new(Deis::default()),
            Self::Euler => Arc::new(Euler::default()),
            Self::EulerAncestral => Arc::new(EulerAncestral::default()),
            Self::Heun => Arc::new(Heun::default()),
            Self::FlowHeun => Arc::new(FlowHeun {}),
            Self::Lcm => Arc::new(Lcm::default()),
            Self::DpmppAsReference => Arc::new(DpmppAsReference {}),
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
