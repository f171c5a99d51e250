use latent_text_language_model::EncoderDecoderConfig;
use serde::{Deserialize, Serialize};

use crate::AutoencoderError;
use crate::config::{check_fit, check_sizes};

/// Settings of latents that are the language model's own encoder states, as many as a text has tokens
/// (LD4LG's first version). The defaults are those for BART-base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EncoderLatentsConfig {
    /// Width of the encoder's states, and so of a latent vector. Default 768.
    pub dim_lm: usize,
    /// The most tokens of one text, special ones included. Longer texts are cut. Default 64.
    pub max_tokens: usize,
}

impl Default for EncoderLatentsConfig {
    fn default() -> Self {
        Self { dim_lm: 768, max_tokens: 64 }
    }
}

impl EncoderLatentsConfig {
    /// Checks the settings; to be called on those that come from outside.
    ///
    /// # Errors
    /// [`AutoencoderError::Setting`] names the first setting that can't be used.
    pub fn validate(&self) -> Result<(), AutoencoderError> {
        check_sizes(&[("dim_lm", self.dim_lm), ("max_tokens", self.max_tokens)])
    }

    /// Checks the settings, also against the language model that the latents are of.
    ///
    /// # Errors
    /// [`AutoencoderError::Setting`] names the first setting that can't be used.
    pub fn validate_with(
        &self,
        language_model: &EncoderDecoderConfig,
    ) -> Result<(), AutoencoderError> {
        self.validate()?;
        check_fit(self.dim_lm, self.max_tokens, language_model)
    }
}
