#![doc = include_str!("../README.md")]

mod batch;
mod cast;
mod conditions;
mod config;
mod error;
mod fit;
mod folder;
mod generate;
mod given;
mod guiding;
mod lengths;
mod levels;
mod likelihood;
mod masking;
mod model;
mod networks;
mod own_guidance;
mod real_guidance;
mod request;
mod sampling;
mod weaker;

pub use config::{FORMAT_VERSION, ModelConfig, SamplingDefaults, SourceConfig, SourceEncoder};
pub use error::GenerationError;
pub use folder::{
    DENOISER_FILE, LENGTH_PREDICTOR_FILE, MODEL_CONFIG_FILE, SOURCE_ENCODER_FOLDER,
    WEAKER_DENOISER_FILE,
};
pub use guiding::GuidedRows;
pub use model::LatentText;
pub use request::{Choice, Generated, Lengths, Request, StepPreview};
