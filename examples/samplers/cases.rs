//! What is compared: every sampler by name, and some in another setting or process.

use std::sync::Arc;

use clap::ValueEnum;
use latent_text::diffusion::sampler::{
    Churn, Ddim, DdimInversion, Deis, Heun, Order, Sampler, UniPc,
};
use latent_text::diffusion::schedule::{Cosine, Edm, RectifiedFlow};
use latent_text::diffusion::spacing::{Karras, UniformLogSnr};
use latent_text::diffusion::{
    DiffusionError, NoiseSchedule, NoiseScheduleConfig, Prediction, SamplerKind, SamplerPlan,
    ScheduleKind, Spacing,
};

/// About the standard deviation of the mixture.
const SIGMA_DATA: f64 = 1.0;

/// A sampler in a process.
pub struct Case {
    pub name: &'static str,
    pub process: Process,
    pub sampler: Arc<dyn Sampler>,
    schedule: NoiseSchedule,
    spacing: Spacing,
}

/// How the steps of the cosine process are spread.
#[derive(Clone, Copy, ValueEnum)]
pub enum Times {
    /// Uniform in time.
    Uniform,
    /// Karras et al.'s, over the whole schedule.
    Karras,
    /// Uniform in the log-SNR, over the whole schedule.
    LogSnr,
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

    fn spacing(self, times: Times) -> Spacing {
        match self {
            Self::Flow => Spacing::Uniform,
            Self::Cosine => match times {
                Times::Uniform => Spacing::Uniform,
                Times::Karras => Spacing::Karras(Karras::default()),
                Times::LogSnr => Spacing::UniformLogSnr(UniformLogSnr::default()),
            },
            Self::Edm => Spacing::Karras(Karras::default()),
        }
    }
}

/// All cases, in the order of the table.
pub fn cases(times: Times) -> Result<Vec<Case>, DiffusionError> {
    let mut cases = Vec::new();
    for &kind in SamplerKind::ALL {
        cases.push(case(kind.name(), process_of(kind), kind.sampler(), times)?);
        for (name, process, sampler) in variants(kind) {
            cases.push(case(name, process, sampler, times)?);
        }
    }
    Ok(cases)
}

fn case(
    name: &'static str,
    process: Process,
    sampler: Arc<dyn Sampler>,
    times: Times,
) -> Result<Case, DiffusionError> {
    let (schedule, spacing) = (process.schedule()?, process.spacing(times));
    Ok(Case { name, process, sampler, schedule, spacing })
}

/// The same sampler in another setting, direction or process.
fn variants(kind: SamplerKind) -> Vec<(&'static str, Process, Arc<dyn Sampler>)> {
    let order = Order::Three;
    match kind {
        SamplerKind::Ddim => vec![
            ("ddim, eta 0.5", Process::Cosine, Arc::new(Ddim { eta: 0.5 })),
            ("ddim, inversion", Process::Cosine, Arc::new(DdimInversion {})),
        ],
        SamplerKind::Unipc => {
            vec![("unipc, order 3", Process::Cosine, Arc::new(UniPc { order, ..UniPc::default() }))]
        }
        SamplerKind::Deis => {
            vec![("deis, order 3", Process::Cosine, Arc::new(Deis { order, ..Deis::default() }))]
        }
        SamplerKind::Euler => vec![("euler", Process::Flow, kind.sampler())],
        SamplerKind::Heun => {
            let churn = Churn { amount: 2.0, ..Churn::default() };
            vec![("heun, churn 2", Process::Edm, Arc::new(Heun { churn }))]
        }
        _ => vec![],
    }
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
            SamplerPlan::with_sampler(&self.schedule, sampler, prediction, &self.spacing, steps)
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
