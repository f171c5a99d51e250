use std::fs;
use std::io::Write;
use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, FloatDType, Tensor};
use latent_text_language_model::{GenerationConfig, LanguageModel, LanguageModelError};
use latent_text_nn::{weights, write_atomically};

use crate::{AutoencoderError, Perceiver, PerceiverConfig};

const LANGUAGE_MODEL_FOLDER: &str = "language_model";
const SETTINGS_FILE: &str = "autoencoder.json";
const WEIGHTS_FILE: &str = "autoencoder.safetensors";

/// Texts to latents and back: a language model with a [`Perceiver`] between its encoder and its
/// decoder.
///
/// Its folder holds `language_model/` (a Hugging Face folder), `autoencoder.json` (a
/// [`PerceiverConfig`]) and `autoencoder.safetensors`; other files in it are left alone.
#[derive(Debug)]
pub struct LanguageAutoencoder {
    /// The language model, frozen while the Perceiver is trained.
    pub language_model: LanguageModel,
    /// What compresses and reconstructs, on the language model's device and in its dtype.
    pub perceiver: Perceiver,
    /// The settings of `perceiver`.
    pub config: PerceiverConfig,
}

impl LanguageAutoencoder {
    /// Puts the parts together; `config` is what `perceiver` was made from.
    ///
    /// # Errors
    /// [`AutoencoderError::Setting`] if `config` does not fit the language model.
    pub fn new(
        language_model: LanguageModel,
        perceiver: Perceiver,
        config: PerceiverConfig,
    ) -> Result<Self, AutoencoderError> {
        config.validate_with(&language_model.config)?;
        Ok(Self { language_model, perceiver, config })
    }

    /// Reads an autoencoder's folder, in f32.
    ///
    /// # Errors
    /// If a file is missing, damaged, or does not fit the others.
    pub fn load(folder: &Path, device: &Device) -> Result<Self, AutoencoderError> {
        let config = read_settings(&folder.join(SETTINGS_FILE))?;
        let language_model = LanguageModel::load(&folder.join(LANGUAGE_MODEL_FOLDER), device)?;
        config.validate_with(&language_model.config)?;
        let perceiver = config.init(device);
        let perceiver =
            weights::load(perceiver, &folder.join(WEIGHTS_FILE), &|path| path.to_string())?;
        Ok(Self { language_model, perceiver, config })
    }

    /// Writes the folder with weights in `dtype`; made if there is none.
    ///
    /// # Errors
    /// If a file can't be written.
    pub fn save(&self, folder: &Path, dtype: FloatDType) -> Result<(), AutoencoderError> {
        fs::create_dir_all(folder)
            .map_err(|source| AutoencoderError::Write { path: folder.to_path_buf(), source })?;
        self.language_model.save(&folder.join(LANGUAGE_MODEL_FOLDER), dtype)?;
        let weights_file = folder.join(WEIGHTS_FILE);
        weights::save(&self.perceiver, &weights_file, dtype, &|path| path.to_string())?;
        write_settings(&folder.join(SETTINGS_FILE), &self.config)
    }

    /// The latents of a batch of texts, `[batch, latents, latent_dim]`. Texts of more than
    /// `max_tokens` tokens are cut.
    ///
    /// # Errors
    /// [`AutoencoderError::NoTexts`] for an empty batch, [`AutoencoderError::LanguageModel`] if a
    /// text can't be turned into tokens.
    pub fn encode_texts(&self, texts: &[&str]) -> Result<Tensor<3>, AutoencoderError> {
        if texts.is_empty() {
            return Err(AutoencoderError::NoTexts);
        }
        let tokens = self.language_model.tokenizer.encode_batch(texts, self.config.max_tokens)?;
        let (ids, mask) = tokens.tensors(tokens.longest().max(1), &self.device());
        let states = self.language_model.model.encode(ids, Some(mask.clone()));
        Ok(self.perceiver.compress(states, Some(mask)))
    }

    /// The texts that latents `[batch, latents, latent_dim]` stand for, one for each, with one seed for
    /// each.
    ///
    /// # Errors
    /// [`AutoencoderError::LanguageModel`] if the decoding settings can't be used, ask for several
    /// texts, or the result is no text.
    pub fn decode_latents(
        &self,
        latents: Tensor<3>,
        generation: &GenerationConfig,
        seeds: &[u64],
    ) -> Result<Vec<String>, AutoencoderError> {
        if generation.returns != 1 {
            return Err(AutoencoderError::LanguageModel(LanguageModelError::Setting {
                setting: "returns",
                problem: format!("{} must be 1: latents stand for one text", generation.returns),
            }));
        }
        let states = self.perceiver.reconstruct(latents);
        let texts = self.language_model.model.generate(states, None, generation, seeds)?;
        let tokenizer = &self.language_model.tokenizer;
        texts.iter().map(|text| Ok(tokenizer.decode(&text.ids)?)).collect()
    }

    fn device(&self) -> Device {
        self.perceiver.devices().remove(0)
    }
}

fn read_settings(path: &Path) -> Result<PerceiverConfig, AutoencoderError> {
    let text = fs::read_to_string(path)
        .map_err(|source| AutoencoderError::Read { path: path.to_path_buf(), source })?;
    serde_json::from_str(&text)
        .map_err(|source| AutoencoderError::Settings { path: path.to_path_buf(), source })
}

fn write_settings(path: &Path, config: &PerceiverConfig) -> Result<(), AutoencoderError> {
    let text = serde_json::to_string_pretty(config)
        .map_err(|source| AutoencoderError::Settings { path: path.to_path_buf(), source })?;
    write_atomically(path, |file| file.write_all(text.as_bytes()))
        .map_err(|source| AutoencoderError::Write { path: path.to_path_buf(), source })
}
