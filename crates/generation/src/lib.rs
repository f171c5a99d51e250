#![doc = include_str!("../README.md")]

mod batch;
mod conditions;
mod config;
mod error;
mod folder;
mod generate;
mod likelihood;
mod model;
mod request;

pub use config::{FORMAT_VERSION, ModelConfig, SamplingDefaults, SourceConfig, SourceEncoder};
pub use error::GenerationError;
pub use folder::{DENOISER_FILE, MODEL_CONFIG_FILE, SOURCE_ENCODER_FOLDER};
pub use model::LatentText;
pub use request::{Choice, Generated, Request, StepPreview};
