//! What is compared: every sampler by name, and some in another setting or process.

use std::sync::Arc;

use latent_text::diffusion::sampler::{Churn, Ddim, Deis, Heun, Order, Sampler, UniPc};
use latent_text::diffusion::schedule::{Cosine, Edm, RectifiedFlow};
use latent_text::diffusion::spacing::Karras;
use latent_text::diffusion::{
    DiffusionError, NoiseSchedule, NoiseScheduleConfig, Prediction, SamplerKind, SamplerPlan,
    ScheduleKind, Spacing,
};

/// About the standard deviation of the mixture.
const SIGMA_DATA: f64 = 1.0;

/// A sampler in a process.
pub struct Case {
    pub name: String,
    pub process: Process,
    pub sampler: Arc<dyn Sampler>,
    schedule: NoiseSchedule,
}

/// The process that a sampler is measured in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// Variance preserving, with the cosine schedule.
    Cosine,
    /// Variance exploding.
    Edm,
    /// Straight lines.
    Flow,
}

impl Process {
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Edm => "edm",
            Self::Flow => "flow",
        }
    }

    pub fn prediction(self) -> Prediction {
        match self {
            Self::Cosine => Prediction::V,
            Self::Edm => Prediction::Edm { sigma_data: SIGMA_DATA },
            Self::Flow => Prediction::Velocity,
        }
    }

    fn schedule(self) -> Result<NoiseSchedule, DiffusionError> {
        let kind = match self {
            Self::Cosine => ScheduleKind::Cosine(Cosine::default()),
            Self::Edm => ScheduleKind::Edm(Edm::default()),
            Self::Flow => ScheduleKind::RectifiedFlow(RectifiedFlow::default()),
        };
        NoiseScheduleConfig { kind, ..NoiseScheduleConfig::default() }.init()
    }

    fn spacing(self) -> Spacing {
        match self {
            Self::Cosine | Self::Flow => Spacing::Uniform,
            Self::Edm => Spacing::Karras(Karras::default()),
        }
    }
}

/// All cases, in the order of the table.
pub fn cases() -> Result<Vec<Case>, DiffusionError> {
    let own = |kind: &SamplerKind| (kind.name(), process_of(*kind), kind.sampler());
    let mut cases: Vec<_> = SamplerKind::ALL.iter().map(own).collect();
    let third = Order::Three;
    let churn = Churn { amount: 20.0, ..Churn::default() };
    cases.extend::<[(_, _, Arc<dyn Sampler>); _]>([
        ("euler", Process::Flow, SamplerKind::Euler.sampler()),
        ("ddim, eta 0.5", Process::Cosine, Arc::new(Ddim { eta: 0.5 })),
        ("unipc, order 3", Process::Cosine, Arc::new(UniPc { order: third, ..UniPc::default() })),
        ("deis, order 3", Process::Cosine, Arc::new(Deis { order: third, ..Deis::default() })),
        ("heun, churn 20", Process::Edm, Arc::new(Heun { churn })),
    ]);
    let case = |(name, process, sampler): (&str, Process, _)| {
        Ok(Case { name: name.into(), process, sampler, schedule: process.schedule()? })
    };
    cases.into_iter().map(case).collect()
}

/// Where a sampler is at home.
fn process_of(kind: SamplerKind) -> Process {
    match kind {
        SamplerKind::Euler | SamplerKind::EulerAncestral | SamplerKind::Heun => Process::Edm,
        SamplerKind::FlowHeun => Process::Flow,
        _ => Process::Cosine,
    }
}

impl Case {
    /// The plan with the most steps that has no more than `calls` network calls.
    pub fn plan(&self, calls: usize) -> Result<SamplerPlan, DiffusionError> {
        let plan = |steps| {
            let (sampler, prediction) = (self.sampler.clone(), self.process.prediction());
            let spacing = self.process.spacing();
            SamplerPlan::with_sampler(&self.schedule, sampler, prediction, &spacing, steps)
        };
        let plans = (1..=calls).rev().map(plan);
        let mut fitting =
            plans.filter(|plan| plan.as_ref().map_or(true, |plan| plan.calls() <= calls));
        fitting.next().unwrap_or(Err(DiffusionError::NoSteps))
    }
}

/// Whether a run draws noise on its way.
pub fn is_stochastic(plan: &SamplerPlan) -> bool {
    plan.stages().iter().any(|stage| stage.next.noise != 0.0)
}
