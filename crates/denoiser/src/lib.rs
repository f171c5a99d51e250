#![doc = include_str!("../README.md")]

mod attention;
mod class_embedding;
mod conditions;
mod config;
mod context;
mod denoiser;
mod embedded_time;
mod encoder_space_config;
mod encoder_space_denoiser;
mod error;
mod feed_forward;
mod masking;
mod network;
mod network_config;
mod reference;
mod relative_positions;
mod settings;
mod source_reader;
mod stream;
mod time_embedding;
mod time_terms;
mod transformer;

pub use conditions::{Conditions, SelfCondition, Source, SourceContext};
pub use config::{DenoiserConfig, SkipRule};
pub use denoiser::Denoiser;
pub use embedded_time::EmbeddedTime;
pub use encoder_space_config::EncoderSpaceDenoiserConfig;
pub use encoder_space_denoiser::EncoderSpaceDenoiser;
pub use error::DenoiserError;
pub use network::{DenoisingNetwork, NetworkTime};
pub use network_config::DenoisingNetworkConfig;
