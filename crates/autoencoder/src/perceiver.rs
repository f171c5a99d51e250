use burn::module::Module;
use burn::tensor::{Bool, Device, Tensor};

use crate::compression::Compression;
use crate::normalize::l2_normalize_latents;
use crate::reconstruction::Reconstruction;
use crate::{LatentNorm, PerceiverConfig};

/// Compresses the encoder states of a text to a fixed number of small vectors, and makes of these
/// the states that a decoder can attend to.
///
/// A Perceiver resampler and a transformer (Lovelace et al., "Latent Diffusion for Language
/// Generation" (LD4LG), section 3). Input may have another float dtype than the parameters; the
/// result has that of the parameters.
#[derive(Module, Debug)]
pub struct Perceiver {
    compression: Compression,
    reconstruction: Reconstruction,
    #[module(skip)]
    latent_norm: LatentNorm,
}

impl Perceiver {
    pub(crate) fn new(config: &PerceiverConfig, device: &Device) -> Self {
        Self {
            compression: Compression::new(config, device),
            reconstruction: Reconstruction::new(config, device),
            latent_norm: config.latent_norm,
        }
    }

    /// The latents of texts, `[batch, latents, latent_dim]`.
    ///
    /// # Shapes
    /// - `states`: encoder states, `[batch, tokens, dim_lm]`
    /// - `mask`: `[batch, tokens]`, true for real tokens; none if all are
    ///
    /// # Panics
    /// If there are more tokens than `max_tokens`, or if a shape is not as above.
    pub fn compress(&self, states: Tensor<3>, mask: Option<Tensor<2, Bool>>) -> Tensor<3> {
        let latents = self.compression.forward(states, mask);
        match self.latent_norm {
            LatentNorm::L2 => l2_normalize_latents(latents),
            LatentNorm::None => latents,
        }
    }

    /// States for the language model's decoder, `[batch, latents, dim_lm]`, all of them to be seen,
    /// from latents `[batch, latents, latent_dim]`.
    ///
    /// # Panics
    /// If there are more latents than the settings say, or if their width is another.
    pub fn reconstruct(&self, latents: Tensor<3>) -> Tensor<3> {
        self.reconstruction.forward(latents)
    }
}
