#![doc = include_str!("../README.md")]

mod arguments;
mod assembly;
mod autoencoder;
mod denoiser;
mod encoder_space;
mod error;
mod lengths;
mod model;
mod run;
mod settings;
mod source;
mod statistics;
mod tensors;

pub use error::ReferenceError;
pub use lengths::TextLengths;
pub use model::{Checkpoint, Converted, Part, ReferenceModel};
