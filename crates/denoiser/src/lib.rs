#![doc = include_str!("../README.md")]

mod attention;
mod class_embedding;
mod config;
mod denoiser;
mod error;
mod feed_forward;
mod reference;
mod time_embedding;
mod transformer;

pub use config::{DenoiserConfig, SkipRule};
pub use denoiser::{Denoiser, SelfCondition};
pub use error::DenoiserError;
pub use reference::reference_name;
