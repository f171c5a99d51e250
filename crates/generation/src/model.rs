use burn::tensor::{Device, Tensor};
use latent_text_autoencoder::{LanguageAutoencoder, LatentNorm};
use latent_text_conditioning::SourceReader;
use latent_text_denoiser::Denoiser;
use latent_text_language_model::{GenerationConfig, LanguageModel};

use crate::{GenerationError, ModelConfig, SourceEncoder};

/// A text diffusion model: an autoencoder between texts and latents, and a denoiser of latents.
pub struct LatentText {
    /// What the model is.
    pub config: ModelConfig,
    /// Text to latents and back.
    pub autoencoder: LanguageAutoencoder,
    /// The network that predicts clean latents.
    pub denoiser: Denoiser,
    /// A smaller or less trained denoiser of the same latents and conditions, for autoguidance; none at
    /// first.
    pub weaker_denoiser: Option<Denoiser>,
    pub(crate) source_reader: Option<SourceReader>,
    device: Device,
}

impl LatentText {
    /// Puts a model together from its parts, which must be on `device`. If it is for sources, the
    /// autoencoder's language model reads them.
    ///
    /// # Errors
    /// [`GenerationError::Inconsistent`] if the denoiser's latents, classes or sources, or the width of
    /// the statistics, are not those of the autoencoder, the labels and the source encoder;
    /// [`GenerationError::Conditioning`] if sources are to be longer than the language model's
    /// positions.
    pub fn new(
        config: ModelConfig,
        autoencoder: LanguageAutoencoder,
        denoiser: Denoiser,
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
        Self::with_reader(config, autoencoder, denoiser, device, reader)
    }

    /// Puts a model together whose sources are read by a language model of their own.
    ///
    /// # Errors
    /// As [`new`](Self::new), and [`GenerationError::Inconsistent`] if the configuration does not have
    /// [`SourceEncoder::Own`].
    pub fn with_source_encoder(
        config: ModelConfig,
        autoencoder: LanguageAutoencoder,
        denoiser: Denoiser,
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
        Self::with_reader(config, autoencoder, denoiser, device, Some(reader))
    }

    fn with_reader(
        config: ModelConfig,
        autoencoder: LanguageAutoencoder,
        denoiser: Denoiser,
        device: &Device,
        source_reader: Option<SourceReader>,
    ) -> Result<Self, GenerationError> {
        check_latents(&config, &autoencoder)?;
        check_labels(&config)?;
        check_source(&config, source_reader.as_ref())?;
        let device = device.clone();
        Ok(Self { config, autoencoder, denoiser, weaker_denoiser: None, source_reader, device })
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

    /// The latents of texts in the space that the diffusion runs in, `[texts, latents, dim]`.
    ///
    /// # Errors
    /// What the tokenizer answers.
    pub fn encode(&self, texts: &[&str]) -> Result<Tensor<3>, GenerationError> {
        let latents = self.autoencoder.encode_texts(texts)?;
        Ok(match self.autoencoder.config.latent_norm {
            LatentNorm::L2 => latents,
            LatentNorm::None => self.config.statistics.normalise(latents),
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
        x0: Tensor<3>,
        decoding: &GenerationConfig,
        seeds: &[u64],
    ) -> Result<Vec<String>, GenerationError> {
        self.check_given(&x0)?;
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

    /// Checks latents that come from outside.
    pub(crate) fn check_given(&self, x0: &Tensor<3>) -> Result<(), GenerationError> {
        let shape = &self.autoencoder.config;
        let [texts, latents, dim] = x0.dims();
        if texts == 0 || [latents, dim] != [shape.latents, shape.latent_dim] {
            return Err(GenerationError::Latents(format!(
                "they have the shape {:?}, the model has [texts, {}, {}]",
                x0.dims(),
                shape.latents,
                shape.latent_dim
            )));
        }
        let values = x0.to_data();
        match values.iter::<f32>().position(|value| !value.is_finite()) {
            None => Ok(()),
            Some(place) => Err(GenerationError::Latents(format!(
                "those of text {} (counted from 0) hold a value that is no finite number",
                place / (latents * dim)
            ))),
        }
    }

    pub(crate) fn denormalise(&self, x0: Tensor<3>) -> Tensor<3> {
        match self.autoencoder.config.latent_norm {
            LatentNorm::L2 => x0,
            LatentNorm::None => self.config.statistics.denormalise(x0),
        }
    }
}

fn check_latents(
    config: &ModelConfig,
    autoencoder: &LanguageAutoencoder,
) -> Result<(), GenerationError> {
    let latents = &autoencoder.config;
    if config.denoiser.latent_dim != latents.latent_dim
        || config.denoiser.max_latents < latents.latents
    {
        return inconsistent(format!(
            "the autoencoder makes {} x {} latents, the denoiser takes up to {} x {}",
            latents.latents,
            latents.latent_dim,
            config.denoiser.max_latents,
            config.denoiser.latent_dim
        ));
    }
    let mean = config.statistics.mean.len();
    if mean != latents.latent_dim {
        return inconsistent(format!(
            "the latents have {} dimensions, the mean in their statistics has {mean}",
            latents.latent_dim
        ));
    }
    Ok(())
}

fn check_labels(config: &ModelConfig) -> Result<(), GenerationError> {
    let labels = config.labels.as_ref().map_or(0, |labels| labels.names().len());
    let classes = config.denoiser.classes.unwrap_or(0);
    if labels != classes {
        return inconsistent(format!(
            "the denoiser has {classes} classes, there are {labels} labels"
        ));
    }
    Ok(())
}

fn check_source(
    config: &ModelConfig,
    reader: Option<&SourceReader>,
) -> Result<(), GenerationError> {
    match (config.denoiser.source_dim, reader.map(SourceReader::dim)) {
        (None, None) => Ok(()),
        (Some(expected), Some(found)) if expected == found => Ok(()),
        (Some(expected), Some(found)) => inconsistent(format!(
            "the denoiser attends to sources of width {expected}, their encoder has width {found}"
        )),
        (Some(_), None) => inconsistent(
            "the denoiser attends to sources, but nothing says what reads them (`source`)"
                .to_string(),
        ),
        (None, Some(_)) => {
            inconsistent("sources are read, but the denoiser does not attend to any".to_string())
        }
    }
}

fn inconsistent(problem: String) -> Result<(), GenerationError> {
    Err(GenerationError::Inconsistent(problem))
}
