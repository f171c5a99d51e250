use latent_text_denoiser::{DenoisingNetwork, DenoisingNetworkConfig};

use crate::{GenerationError, LatentText, fit};

impl LatentText {
    /// The same model with a denoiser for autoguidance to lead away from: a smaller or less trained one
    /// of the same latents, classes and sources, made from `config` and on the model's device. It becomes
    /// part of the model's folder.
    ///
    /// # Errors
    /// [`GenerationError::Denoiser`] for settings that no denoiser can have;
    /// [`GenerationError::Inconsistent`] if its latents, classes or sources are not those of the
    /// autoencoder, the labels and the source encoder, or if it needs a discrete noise schedule and the
    /// model has none.
    pub fn with_weaker_denoiser(
        mut self,
        config: DenoisingNetworkConfig,
        denoiser: impl Into<DenoisingNetwork>,
    ) -> Result<Self, GenerationError> {
        config.validate()?;
        let (autoencoder, reader) = (self.autoencoder.config(), self.source_reader.as_ref());
        fit::check_denoiser("the weaker denoiser", &config, &self.config, &autoencoder, reader)?;
        self.config.weaker_denoiser = Some(config);
        self.weaker_denoiser = Some(denoiser.into());
        Ok(self)
    }

    /// The denoiser that autoguidance leads away from, if there is one.
    pub fn weaker_denoiser(&self) -> Option<&DenoisingNetwork> {
        self.weaker_denoiser.as_ref()
    }
}
