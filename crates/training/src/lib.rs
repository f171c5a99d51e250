#![doc = include_str!("../README.md")]

pub mod checkpoint;
mod config;
pub mod data;
mod error;
pub mod latents;
pub mod noising;
pub mod optimisation;
pub mod order;
mod padding;
mod pipeline;
mod prefetch;
pub mod report;
mod samples;
pub mod source;
pub mod stage;
mod trainer;

pub use config::{
    AutoencoderSection, AutoencoderTraining, DiffusionSection, LanguageModelSection,
    LanguageModelShape, LanguageModelTraining, OwnStates, PerceiverShape, TrainingConfig,
};
pub use error::TrainingError;
pub use padding::Padding;
pub use pipeline::{Pipeline, PipelineStage, Progress};
pub use trainer::{Outcome, Precision, Run, Stage, TrainerConfig, Validation, train};
