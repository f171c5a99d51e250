#![doc = include_str!("../README.md")]

mod error;
mod level;
mod loss;
mod noise;
mod prediction;
mod rescale;
pub mod sampler;
pub mod schedule;

pub use error::DiffusionError;
pub use level::{NoiseFactors, NoiseLevel};
pub use loss::{LossKind, loss, loss_per_sample};
pub use noise::{NoiseSource, SampleNoise};
pub use prediction::{Prediction, add_noise};
pub use rescale::rescale_norm;
pub use sampler::{
    DenoiserInput, Sampler, SamplerKind, SamplerPlan, SamplerState, StepReport, sample,
};
pub use schedule::{NoiseSchedule, NoiseScheduleConfig, ScheduleKind};
