use burn::tensor::{Device, FloatDType, Tensor};
use latent_text_autoencoder::{LanguageAutoencoder, Latents};
use latent_text_conditioning::{LengthPredictor, LengthPredictorConfig, SourceReader};
use latent_text_denoiser::DenoisingNetwork;
use latent_text_language_model::{GenerationConfig, LanguageModel};

use crate::{GenerationError, ModelConfig, SourceEncoder, fit};

/// A text diffusion model: an autoencoder between texts and latents, and a denoiser of latents.
pub struct LatentText {
    /// What the model is.
    pub config: ModelConfig,
    /// Text to latents and back.
    pub autoencoder: LanguageAutoencoder,
    /// The network that predicts clean latents.
    pub denoiser: DenoisingNetwork,
    pub(crate) weaker_denoiser: Option<DenoisingNetwork>,
    pub(crate) source_reader: Option<SourceReader>,
    pub(crate) length_predictor: Option<LengthPredictor>,
    pub(crate) device: Device,
}

impl LatentText {
    /// Puts a model together from its parts, which must be on `device`. If it is for sources, the
    /// autoencoder's language model reads them.
    ///
    /// # Errors
    /// [`GenerationError::Inconsistent`] if the denoiser's latents, classes or sources, the width of the
    /// statistics or the lengths are not those of the autoencoder, the labels and the source encoder, or
    /// if the denoiser needs a discrete noise schedule and has none;
    /// [`GenerationError::Conditioning`] if sources are to be longer than the language model's
    /// positions.
    pub fn new(
        config: ModelConfig,
        autoencoder: LanguageAutoencoder,
        denoiser: impl Into<DenoisingNetwork>,
        device: &Device,
    ) -> Result<Self, GenerationError> {
        let reader = match &config.source {
            None => None,
            Some(source) if source.encoder == SourceEncoder::Autoencoder => {
                Some(SourceReader::new(autoencoder.language_model.clone(), source.max_tokens)?)
            }
            Some(_) => {
                return Err(GenerationError::Inconsistent(
                    "sources are read with an encoder of their own, which is missing; give it to \
                     `with_source_encoder`"
                        .to_string(),
                ));
            }
        };
        Self::with_reader(config, autoencoder, denoiser.into(), device, reader)
    }

    /// Puts a model together whose sources are read by a language model of their own.
    ///
    /// # Errors
    /// As [`new`](Self::new), and [`GenerationError::Inconsistent`] if the configuration does not have
    /// [`SourceEncoder::Own`].
    pub fn with_source_encoder(
        config: ModelConfig,
        autoencoder: LanguageAutoencoder,
        denoiser: impl Into<DenoisingNetwork>,
        device: &Device,
        source_encoder: LanguageModel,
    ) -> Result<Self, GenerationError> {
        let Some(source) =
            config.source.as_ref().filter(|source| source.encoder == SourceEncoder::Own)
        else {
            return Err(GenerationError::Inconsistent(
                "a source encoder was given, but the configuration has no `own` one".to_string(),
            ));
        };
        let reader = SourceReader::new(source_encoder, source.max_tokens)?;
        Self::with_reader(config, autoencoder, denoiser.into(), device, Some(reader))
    }

    fn with_reader(
        config: ModelConfig,
        autoencoder: LanguageAutoencoder,
        denoiser: DenoisingNetwork,
        device: &Device,
        source_reader: Option<SourceReader>,
    ) -> Result<Self, GenerationError> {
        fit::check(&config, &autoencoder.config(), source_reader.as_ref())?;
        if config.length_predictor.is_some() {
            return Err(GenerationError::Inconsistent(
                "lengths are to be predicted, but what predicts them is missing; give both to \
                 `with_length_predictor`"
                    .to_string(),
            ));
        }
        if config.weaker_denoiser.is_some() {
            return Err(GenerationError::Inconsistent(
                "there is to be a weaker denoiser, which is missing; give it with its settings to \
                 `with_weaker_denoiser`"
                    .to_string(),
            ));
        }
        let device = device.clone();
        Ok(Self {
            config,
            autoencoder,
            denoiser,
            weaker_denoiser: None,
            source_reader,
            length_predictor: None,
            device,
        })
    }

    /// The same model with a predictor of how many latents texts get, made from `config` and on the
    /// model's device.
    ///
    /// # Errors
    /// [`GenerationError::Inconsistent`] if all texts have as many latents, or if the predictor's
    /// lengths, classes or sources are not the model's.
    pub fn with_length_predictor(
        mut self,
        config: LengthPredictorConfig,
        predictor: LengthPredictor,
    ) -> Result<Self, GenerationError> {
        let Some(lengths) = &self.config.lengths else {
            return Err(GenerationError::Inconsistent(
                "all texts have as many latents, so there is no length to predict".to_string(),
            ));
        };
        fit::check_predictor(&config, &self.config, lengths.max(), self.source_reader.as_ref())?;
        self.config.length_predictor = Some(config);
        self.length_predictor = Some(predictor);
        Ok(self)
    }

    /// Texts through encoder, latents and decoder.
    ///
    /// # Errors
    /// What the tokenizer answers.
    pub fn reconstruct(&self, texts: &[&str]) -> Result<Vec<String>, GenerationError> {
        let latents = self.autoencoder.encode_texts(texts)?;
        let seeds = vec![0; texts.len()];
        Ok(self.autoencoder.decode_latents(latents, &self.config.decoding, &seeds)?)
    }

    /// The latents of texts in the space that the diffusion runs in, `[texts, latents, dim]` in f32; in
    /// varying number as many as the longest text has, with a mask.
    ///
    /// # Errors
    /// What the tokenizer answers; `AutoencoderError::NoTokens` for a text without tokens where each
    /// token has a latent.
    pub fn encode(&self, texts: &[&str]) -> Result<Latents, GenerationError> {
        let latents = self.autoencoder.encode_texts(texts)?;
        let latents = latents.map(|values| values.cast(FloatDType::F32));
        Ok(match self.autoencoder.is_l2_normalised() {
            true => latents,
            false => latents.map(|values| self.config.statistics.normalise(values)),
        })
    }

    /// The texts of latents in the space that the diffusion runs in, `[texts, latents, dim]`, with one
    /// seed for each.
    ///
    /// # Errors
    /// [`GenerationError::Latents`] if there are no latents, if they have another shape than the
    /// model's, or hold a value that is no finite number; what the decoder answers to the settings.
    pub fn decode(
        &self,
        x0: impl Into<Latents>,
        decoding: &GenerationConfig,
        seeds: &[u64],
    ) -> Result<Vec<String>, GenerationError> {
        let x0 = self.checked(x0.into())?;
        Ok(self.autoencoder.decode_latents(self.denormalise(x0), decoding, seeds)?)
    }

    /// The device that the model is on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What source texts are read with, if the model is for sources.
    pub fn source_reader(&self) -> Option<&SourceReader> {
        self.source_reader.as_ref()
    }

    pub(crate) fn denormalise(&self, x0: Latents) -> Latents {
        match self.autoencoder.is_l2_normalised() {
            true => x0,
            false => x0.map(|values| self.config.statistics.denormalise(values)),
        }
    }

    /// Values of a tensor, for the host.
    pub(crate) fn read<const D: usize>(
        &self,
        tensor: Tensor<D>,
    ) -> Result<Vec<f32>, GenerationError> {
        let values = tensor.cast(FloatDType::F32).try_into_vec_as::<f32>();
        values.map_err(|error| GenerationError::Device(error.to_string()))
    }
}
