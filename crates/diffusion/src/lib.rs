#![doc = include_str!("../README.md")]

mod checks;
mod error;
mod estimate;
pub mod guidance;
mod level;
mod loss;
mod noise;
mod prediction;
pub mod sampler;
pub mod schedule;
pub mod spacing;
pub mod times;

pub use error::DiffusionError;
pub use estimate::{X0Correction, rescale_norm};
pub use guidance::{Guidance, GuidanceConfig, GuidanceContext, GuidancePair, GuidanceState};
pub use level::{Family, NoiseFactors, NoiseLevel};
pub use loss::{
    LossKind, LossWeight, loss, loss_per_sample, masked_loss_per_sample, weighted_loss,
};
pub use noise::{NoiseSource, SampleNoise};
pub use prediction::{Prediction, add_noise};
pub use sampler::{
    DenoiserInput, Sampler, SamplerKind, SamplerPlan, SamplerState, StepReport, sample,
    sample_guided,
};
pub use schedule::{NoiseSchedule, NoiseScheduleConfig, ScheduleKind};
pub use spacing::{NoisePoint, Spacing};
pub use times::{LossHistory, TimeDraw, TimeSampler, TimeSampling};
