#![doc = include_str!("../README.md")]

mod autoencoder_config;
mod compression;
mod config;
mod encoder_latents;
mod error;
mod feed_forward;
mod head_norm;
mod language_autoencoder;
mod latent_space;
mod latents;
mod normalize;
mod perceiver;
mod positions;
mod posterior;
mod reconstruction;
mod reference;
mod statistics;

pub use autoencoder_config::AutoencoderConfig;
pub use config::{LatentNorm, PerceiverConfig};
pub use encoder_latents::EncoderLatentsConfig;
pub use error::AutoencoderError;
pub use language_autoencoder::{LANGUAGE_MODEL_FOLDER, LanguageAutoencoder};
pub use latent_space::LatentSpace;
pub use latents::Latents;
pub use normalize::l2_normalize_latents;
pub use perceiver::Perceiver;
pub use posterior::LatentPosterior;
pub use reference::reference_name;
pub use statistics::{LatentStatistics, LatentStatisticsAccumulator};
