use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Bool, Device, Tensor};
use latent_text_nn::linear;

use crate::compression::Compression;
use crate::normalize::l2_normalize_latents;
use crate::reconstruction::Reconstruction;
use crate::{LatentNorm, LatentPosterior, PerceiverConfig};

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
    /// Means, then log-variances.
    posterior: Option<Linear>,
    #[module(skip)]
    latent_norm: LatentNorm,
}

impl Perceiver {
    pub(crate) fn new(config: &PerceiverConfig, device: &Device) -> Self {
        let posterior = || LinearConfig::new(config.latent_dim, 2 * config.latent_dim).init(device);
        Self {
            compression: Compression::new(config, device),
            reconstruction: Reconstruction::new(config, device),
            posterior: config.gaussian_posterior.then(posterior),
            latent_norm: config.latent_norm,
        }
    }

    /// What is done to each latent vector in the end.
    pub fn latent_norm(&self) -> LatentNorm {
        self.latent_norm
    }

    /// The latents of texts, `[batch, latents, latent_dim]`; of a Gaussian posterior its mean.
    ///
    /// # Shapes
    /// - `states`: encoder states, `[batch, tokens, dim_lm]`
    /// - `mask`: `[batch, tokens]`, true for real tokens; none if all are
    ///
    /// # Panics
    /// If there are more tokens than `max_tokens`, or if a shape is not as above.
    pub fn compress(&self, states: Tensor<3>, mask: Option<Tensor<2, Bool>>) -> Tensor<3> {
        let latents = self.compression.forward(states, mask);
        match &self.posterior {
            None => self.normalised(latents),
            Some(layer) => self.gaussian(layer, latents).mean,
        }
    }

    /// The Gaussians that the latents of texts are drawn from while a variational autoencoder trains;
    /// none if [`PerceiverConfig::gaussian_posterior`] is off.
    ///
    /// The last layer's latents `h` give `(mean, log_variance) = W h + b`; the mean is normalised as the
    /// latents of other autoencoders are.
    ///
    /// # Shapes and panics
    /// As [`compress`](Self::compress).
    pub fn posterior(
        &self,
        states: Tensor<3>,
        mask: Option<Tensor<2, Bool>>,
    ) -> Option<LatentPosterior> {
        let layer = self.posterior.as_ref()?;
        Some(self.gaussian(layer, self.compression.forward(states, mask)))
    }

    fn gaussian(&self, layer: &Linear, latents: Tensor<3>) -> LatentPosterior {
        let both = linear(layer, latents);
        let dim = both.dims()[2] / 2;
        let mean = self.normalised(both.clone().slice_dim(2, 0..dim));
        LatentPosterior::new(mean, both.slice_dim(2, dim..2 * dim))
    }

    fn normalised(&self, latents: Tensor<3>) -> Tensor<3> {
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
