#![doc = include_str!("../README.md")]

mod config;
mod error;
mod model;
mod request;

pub use config::{FORMAT_VERSION, ModelConfig, SamplingDefaults};
pub use error::GenerationError;
pub use model::{DENOISER_FILE, LatentText, MODEL_CONFIG_FILE};
pub use request::{Generated, Request, StepPreview};
