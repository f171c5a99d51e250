use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;

use burn::module::Module;
use burn::tensor::{Bool, Device, FloatDType, Int, Tensor};
use latent_text_language_model::{GenerationConfig, LanguageModel, LanguageModelError};
use latent_text_nn::{cast_module, dtype_of, weights, write_atomically};

use crate::{AutoencoderConfig, AutoencoderError, LatentSpace, Latents};

/// The folder of the language model in an autoencoder's folder.
pub const LANGUAGE_MODEL_FOLDER: &str = "language_model";
const SETTINGS_FILE: &str = "autoencoder.json";
const WEIGHTS_FILE: &str = "autoencoder.safetensors";

/// Texts to latents and back: a language model with a [`LatentSpace`] between its encoder and its
/// decoder.
///
/// Its folder holds `language_model/` (a Hugging Face folder), `autoencoder.json` (an
/// [`AutoencoderConfig`]) and, for a Perceiver, `autoencoder.safetensors`; other files in it are left
/// alone.
#[derive(Clone, Debug)]
pub struct LanguageAutoencoder {
    /// The language model.
    pub language_model: LanguageModel,
    /// What makes latents of its encoder's states, and of latents what its decoder sees.
    pub space: LatentSpace,
}

impl LanguageAutoencoder {
    /// Puts the parts together.
    ///
    /// # Errors
    /// [`AutoencoderError::Setting`] if the space does not fit the language model.
    pub fn new(
        language_model: LanguageModel,
        space: LatentSpace,
    ) -> Result<Self, AutoencoderError> {
        space.config().validate_with(&language_model.config)?;
        Ok(Self { language_model, space })
    }

    /// Reads an autoencoder's folder, in f32.
    ///
    /// # Errors
    /// If a file is missing, damaged, or does not fit the others.
    pub fn load(folder: &Path, device: &Device) -> Result<Self, AutoencoderError> {
        let config = read_settings(&folder.join(SETTINGS_FILE))?;
        let language_model = LanguageModel::load(&folder.join(LANGUAGE_MODEL_FOLDER), device)?;
        config.validate_with(&language_model.config)?;
        let space = match config {
            AutoencoderConfig::Encoder(config) => LatentSpace::Encoder { config },
            AutoencoderConfig::Perceiver(config) => {
                let weights_file = folder.join(WEIGHTS_FILE);
                let perceiver =
                    weights::load(config.init(device), &weights_file, &|path| path.to_string())?;
                LatentSpace::Perceiver { perceiver, config }
            }
        };
        Ok(Self { language_model, space })
    }

    /// Writes the folder with weights in `dtype`; made if there is none.
    ///
    /// # Errors
    /// If a file can't be written.
    pub fn save(&self, folder: &Path, dtype: FloatDType) -> Result<(), AutoencoderError> {
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            |source| AutoencoderError::Write { path, source }
        };
        fs::create_dir_all(folder).map_err(failed(folder))?;
        self.language_model.save(&folder.join(LANGUAGE_MODEL_FOLDER), dtype)?;
        let weights_file = folder.join(WEIGHTS_FILE);
        match &self.space {
            LatentSpace::Perceiver { perceiver, .. } => {
                weights::save(perceiver, &weights_file, dtype, &|path| path.to_string())?;
            }
            // Those of a Perceiver that was here before.
            LatentSpace::Encoder { .. } => match fs::remove_file(&weights_file) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(failed(&weights_file)(error));
                }
                _ => {}
            },
        }
        write_settings(&folder.join(SETTINGS_FILE), &self.config())
    }

    /// The settings of the latent space.
    pub fn config(&self) -> AutoencoderConfig {
        self.space.config()
    }

    /// Width of one latent vector.
    pub fn latent_dim(&self) -> usize {
        self.config().latent_dim()
    }

    /// The number of latent vectors of a text, or the most of them where it varies.
    pub fn max_latents(&self) -> usize {
        self.config().max_latents()
    }

    /// The most tokens of one text, special ones included.
    pub fn max_tokens(&self) -> usize {
        self.config().max_tokens()
    }

    /// Whether every latent vector has the norm `sqrt(latent_dim)`.
    pub fn is_l2_normalised(&self) -> bool {
        self.config().is_l2_normalised()
    }

    /// Whether texts have latents in different numbers.
    pub fn has_varying_lengths(&self) -> bool {
        self.config().has_varying_lengths()
    }

    /// A copy whose parameters have another dtype.
    pub fn cast(&self, dtype: FloatDType) -> Self {
        let mut language_model = self.language_model.clone();
        language_model.model = cast_module(language_model.model, dtype);
        Self { language_model, space: self.space.cast(dtype) }
    }

    /// The latents of a batch of texts, `[batch, latents, latent_dim]`; in varying number as many as the
    /// longest text has. Texts of more than `max_tokens` tokens are cut.
    ///
    /// # Errors
    /// [`AutoencoderError::NoTexts`] for an empty batch, [`AutoencoderError::LanguageModel`] if a
    /// text can't be turned into tokens, [`AutoencoderError::NoTokens`] for a text without tokens where
    /// each token has a latent.
    pub fn encode_texts(&self, texts: &[&str]) -> Result<Latents, AutoencoderError> {
        if texts.is_empty() {
            return Err(AutoencoderError::NoTexts);
        }
        let tokens = self.language_model.tokenizer.encode_batch(texts, self.max_tokens())?;
        if self.has_varying_lengths()
            && let Some(index) = tokens.ids.iter().position(Vec::is_empty)
        {
            return Err(AutoencoderError::NoTokens { index });
        }
        let (ids, mask) = tokens.tensors(tokens.longest().max(1), &self.device());
        Ok(self.encode_tokens(ids, mask))
    }

    /// The latents of token ids `[batch, tokens]`, which are real where `mask`, `[batch, tokens]`, is
    /// true.
    ///
    /// # Panics
    /// If there are more tokens than `max_tokens`.
    pub fn encode_tokens(&self, ids: Tensor<2, Int>, mask: Tensor<2, Bool>) -> Latents {
        let states = self.language_model.model.encode(ids, Some(mask.clone()));
        self.space.compress(states, mask)
    }

    /// What the language model's decoder is shown of latents: states `[batch, latents, dim_lm]` in its
    /// dtype, and which of them it may see, `[batch, latents]`; none if all.
    ///
    /// # Panics
    /// If there are more latents than the settings say, or if their width is another.
    pub fn decoder_states(&self, latents: Latents) -> (Tensor<3>, Option<Tensor<2, Bool>>) {
        let (states, mask) = self.space.reconstruct(latents);
        let dtype = dtype_of(&self.language_model.model).unwrap_or(states.dtype());
        (states.cast(dtype), mask)
    }

    /// The texts that latents stand for, one for each, with one seed for each.
    ///
    /// # Errors
    /// [`AutoencoderError::LanguageModel`] if the decoding settings can't be used, ask for several
    /// texts, or the result is no text.
    ///
    /// # Panics
    /// As [`decoder_states`](Self::decoder_states).
    pub fn decode_latents(
        &self,
        latents: impl Into<Latents>,
        generation: &GenerationConfig,
        seeds: &[u64],
    ) -> Result<Vec<String>, AutoencoderError> {
        if generation.returns != 1 {
            return Err(AutoencoderError::LanguageModel(LanguageModelError::Setting {
                setting: "returns",
                problem: format!("{} must be 1: latents stand for one text", generation.returns),
            }));
        }
        let (states, mask) = self.decoder_states(latents.into());
        let texts = self.language_model.model.generate(states, mask, generation, seeds)?;
        let tokenizer = &self.language_model.tokenizer;
        texts.iter().map(|text| Ok(tokenizer.decode(&text.ids)?)).collect()
    }

    fn device(&self) -> Device {
        self.language_model.model.devices().remove(0)
    }
}

fn read_settings(path: &Path) -> Result<AutoencoderConfig, AutoencoderError> {
    let text = fs::read_to_string(path)
        .map_err(|source| AutoencoderError::Read { path: path.to_path_buf(), source })?;
    serde_json::from_str(&text)
        .map_err(|source| AutoencoderError::Settings { path: path.to_path_buf(), source })
}

fn write_settings(path: &Path, config: &AutoencoderConfig) -> Result<(), AutoencoderError> {
    let text = serde_json::to_string_pretty(config)
        .map_err(|source| AutoencoderError::Settings { path: path.to_path_buf(), source })?;
    write_atomically(path, |file| file.write_all(text.as_bytes()))
        .map_err(|source| AutoencoderError::Write { path: path.to_path_buf(), source })
}
