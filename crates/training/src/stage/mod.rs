//! The three stages: a language model, an autoencoder on it, a diffusion model in its latents.

mod autoencoder;
mod diffusion;
mod language_model;
mod lengths;

pub use autoencoder::{
    AutoencoderBatch, AutoencoderInputs, AutoencoderModel, AutoencoderObjective, AutoencoderStage,
    FineTunedAutoencoder, FrozenLanguageModel, LanguageModelMode, TokenReplacement,
};
pub use diffusion::{
    DiffusionBatch, DiffusionObjective, DiffusionSet, DiffusionStage, SampleDecoder,
};
pub use language_model::{
    DenoisingBatch, LanguageModelInputs, LanguageModelStage, PretrainingText,
};
pub use lengths::{LengthBatch, LengthStage, LengthsSection};

use burn::tensor::Tensor;

use crate::TrainingError;

/// The mean of losses of one element each, read from the device at once.
fn mean(losses: Vec<Tensor<1>>) -> Result<f64, TrainingError> {
    let count = losses.len();
    let values = Tensor::cat(losses, 0)
        .try_into_vec_as::<f32>()
        .map_err(|error| TrainingError::Device(error.to_string()))?;
    Ok(values.iter().map(|&value| f64::from(value)).sum::<f64>() / count as f64)
}
