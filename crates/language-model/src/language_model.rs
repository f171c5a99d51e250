use std::path::Path;

use burn::tensor::{Device, FloatDType};

use crate::files::create_folder;
use crate::{Bart, BartConfig, LanguageModelError, TextTokenizer};

/// A BART with its configuration and its tokenizer: what a Hugging Face model folder holds.
#[derive(Debug, Clone)]
pub struct LanguageModel {
    /// The network.
    pub model: Bart,
    /// Its shape.
    pub config: BartConfig,
    /// Turns texts into the model's token ids and back.
    pub tokenizer: TextTokenizer,
}

impl LanguageModel {
    /// A model with fresh weights.
    ///
    /// # Errors
    /// If the configuration has a fault or has fewer ids than the tokenizer.
    pub fn new(
        config: BartConfig,
        tokenizer: TextTokenizer,
        device: &Device,
    ) -> Result<Self, LanguageModelError> {
        config.validate()?;
        check_vocabulary(&config, &tokenizer)?;
        Ok(Self { model: config.init(device), config, tokenizer })
    }

    /// Loads a model folder: `config.json`, `model.safetensors` (f32, f16 or bf16; the parameters
    /// become f32), `tokenizer.json` or `vocab.json` with `merges.txt`, and where present
    /// `generation_config.json`, `tokenizer_config.json` and `special_tokens_map.json`.
    ///
    /// # Errors
    /// If a file is missing, damaged or does not belong to the others; the error names it.
    pub fn load(folder: &Path, device: &Device) -> Result<Self, LanguageModelError> {
        let config = BartConfig::from_folder(folder)?;
        let tokenizer = TextTokenizer::from_folder(folder)?;
        check_vocabulary(&config, &tokenizer)?;
        let model = Bart::load(folder, &config, device)?;
        Ok(Self { model, config, tokenizer })
    }

    /// Writes a model folder that [`load`](Self::load) and `transformers` read, with the weights in
    /// `dtype` (f32, f16 or bf16). Every file appears whole or not at all, `config.json` last.
    ///
    /// # Errors
    /// If a file can't be written or a weight does not fit into `dtype`.
    pub fn save(&self, folder: &Path, dtype: FloatDType) -> Result<(), LanguageModelError> {
        create_folder(folder)?;
        self.tokenizer.save_to_folder(folder, self.config.max_position_embeddings)?;
        self.model.save(folder, dtype)?;
        self.config.to_folder(folder, dtype)
    }
}

fn check_vocabulary(
    config: &BartConfig,
    tokenizer: &TextTokenizer,
) -> Result<(), LanguageModelError> {
    if tokenizer.vocab_size() > config.vocab_size {
        return Err(LanguageModelError::VocabularySize {
            tokenizer: tokenizer.vocab_size(),
            model: config.vocab_size,
        });
    }
    Ok(())
}
