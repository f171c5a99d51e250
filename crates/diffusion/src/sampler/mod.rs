//! Samplers: from noise to data in a fixed number of steps.
//!
//! [`sample`] runs a [`SamplerPlan`] from start to end, [`sample_guided`] with guidance. The plan is immutable and can be shared; all
//! that changes during a run is in [`SamplerState`]. A sampler is one implementation of [`Sampler`], in
//! a file of its own: it plans the factors of every step before the run begins.
//!
//! In the formulas `a` and `s` are the signal and the noise of the level that a step starts from, `a'`
//! and `s'` those of the level where it ends, and `n` is standard normal noise.

mod as_reference;
mod churn;
mod ddim;
mod ddim_inversion;
mod ddpm;
mod deis;
mod dpm_solver_pp;
mod drive;
mod euler;
mod euler_ancestral;
mod heun;
mod kind;
mod lcm;
mod multistep;
mod plan;
mod stage;
mod state;
mod unipc;

use std::fmt::Debug;

pub use as_reference::DpmppAsReference;
pub use churn::Churn;
pub use ddim::Ddim;
pub use ddim_inversion::DdimInversion;
pub use ddpm::{Ddpm, Variance};
pub use deis::Deis;
pub use dpm_solver_pp::{DpmSolverPp, Slope};
pub use drive::{Pass, StepReport, finish, sample, sample_guided};
pub use euler::Euler;
pub use euler_ancestral::EulerAncestral;
pub use heun::{FlowHeun, Heun};
pub use kind::SamplerKind;
pub use lcm::{Boundary, Lcm};
pub use multistep::Order;
pub use plan::{DenoiserInput, SamplerPlan};
pub use stage::{Stage, Stages, Update};
pub use state::SamplerState;
pub use unipc::{UniPc, Variant};

use crate::checks::require;
use crate::{DiffusionError, NoisePoint};

/// A way from noise to data.
pub trait Sampler: Debug + Send + Sync {
    /// The stages of a run through `points`, of which there are at least two, with strictly less noise
    /// from each to the next.
    ///
    /// # Errors
    /// Settings out of range, and points that the sampler has no way through.
    fn stages(&self, points: &[NoisePoint]) -> Result<Stages, DiffusionError>;

    /// Whether a run starts from data and ends in noise. No for most.
    fn starts_from_data(&self) -> bool {
        false
    }
}

/// Where errors say that a setting belongs.
const SAMPLER: &str = "the sampler";

fn check_at_least_zero(setting: &'static str, value: f64) -> Result<(), DiffusionError> {
    let holds = value.is_finite() && value >= 0.0;
    require(holds, SAMPLER, setting, value, "finite and at least 0")
}

fn check_share(setting: &'static str, value: f64) -> Result<(), DiffusionError> {
    require((0.0..=1.0).contains(&value), SAMPLER, setting, value, "between 0 and 1")
}
