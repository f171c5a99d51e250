#![doc = include_str!("../README.md")]

mod compression;
mod config;
mod error;
mod feed_forward;
mod head_norm;
mod language_autoencoder;
mod normalize;
mod perceiver;
mod positions;
mod reconstruction;
mod reference;
mod statistics;

pub use config::{LatentNorm, PerceiverConfig};
pub use error::AutoencoderError;
pub use language_autoencoder::LanguageAutoencoder;
pub use normalize::l2_normalize_latents;
pub use perceiver::Perceiver;
pub use reference::reference_name;
pub use statistics::{LatentStatistics, LatentStatisticsAccumulator};
