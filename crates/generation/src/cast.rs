use burn::tensor::FloatDType;
use latent_text_autoencoder::LanguageAutoencoder;
use latent_text_conditioning::SourceReader;
use latent_text_nn::cast_module;

use crate::{GenerationError, LatentText};

impl LatentText {
    /// The same model with the parameters of all its networks in `dtype`, in which they then compute:
    /// denoisers, autoencoder, what reads sources and what predicts lengths. With
    /// [`BF16`](FloatDType::BF16) they take half the memory and are faster on GPUs that compute in it, but
    /// several times slower on CPUs; some texts of a seed are others than in f32.
    ///
    /// Norms and softmax inside the networks stay f32, and so does everything between their calls: noise,
    /// guidance, the sampler's steps, latents and their statistics.
    ///
    /// What is rounded stays rounded: a model that is cast to bf16 and back is not the one that was loaded.
    /// [`save`](Self::save) is told a dtype of its own.
    ///
    /// # Errors
    /// [`GenerationError::Precision`] if the device does not compute in `dtype`.
    pub fn cast(self, dtype: FloatDType) -> Result<Self, GenerationError> {
        if !self.device.supports_dtype(dtype) {
            let device = format!("{:?}", self.device);
            return Err(GenerationError::Precision { dtype, device });
        }
        let autoencoder = self.autoencoder.cast(dtype);
        Ok(Self {
            source_reader: self.source_reader_beside(&autoencoder, dtype)?,
            autoencoder,
            denoiser: cast_module(self.denoiser, dtype),
            weaker_denoiser: self.weaker_denoiser.map(|weaker| cast_module(weaker, dtype)),
            length_predictor: self.length_predictor.map(|predictor| cast_module(predictor, dtype)),
            ..self
        })
    }

    /// What reads sources, in `dtype`: it shares the weights of `autoencoder`, which has that dtype, unless
    /// it has some of its own.
    fn source_reader_beside(
        &self,
        autoencoder: &LanguageAutoencoder,
        dtype: FloatDType,
    ) -> Result<Option<SourceReader>, GenerationError> {
        let Some(reader) = &self.source_reader else { return Ok(None) };
        let mut language_model =
            self.own_source_encoder().unwrap_or(&autoencoder.language_model).clone();
        language_model.model = cast_module(language_model.model, dtype);
        Ok(Some(SourceReader::new(language_model, reader.max_tokens())?))
    }
}
