use burn::tensor::Device;
use latent_text_language_model::EncoderDecoderConfig;
use serde::{Deserialize, Serialize};

use crate::{AutoencoderError, Perceiver};

/// Far beyond any sensible size, but small enough that products of sizes do not overflow.
const LARGEST_SIZE: usize = 1 << 16;

/// Settings of a [`Perceiver`]. The defaults are those of LD4LG for BART-base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PerceiverConfig {
    /// Width of the language model's encoder states. Default 768.
    pub dim_lm: usize,
    /// Number of latent vectors that stand for one text. Default 32.
    pub latents: usize,
    /// Width of one latent vector. Default 64.
    pub latent_dim: usize,
    /// Number of layers in the compression and again in the reconstruction network. Default 3.
    pub layers: usize,
    /// Width of one attention head. `dim_lm` must be a multiple of it, and so must `latent_dim` if
    /// it is the larger one. Default 64.
    pub head_dim: usize,
    /// Inner width of a feed-forward network as a multiple of its outer width. Default 4.
    pub ff_mult: usize,
    /// The most tokens of one text, special ones included. Longer texts are cut. Default 64.
    pub max_tokens: usize,
    /// What is done to each latent vector in the end. Default [`LatentNorm::L2`].
    pub latent_norm: LatentNorm,
    /// Whether one more linear layer makes of each latent vector the mean and the log-variance of a
    /// Gaussian, see [`Perceiver::posterior`]. Default false.
    #[serde(skip_serializing_if = "is_false")]
    pub gaussian_posterior: bool,
}

// Left out of files, so that those of autoencoders without it stay as they were.
fn is_false(value: &bool) -> bool {
    !value
}

impl Default for PerceiverConfig {
    fn default() -> Self {
        Self {
            dim_lm: 768,
            latents: 32,
            latent_dim: 64,
            layers: 3,
            head_dim: 64,
            ff_mult: 4,
            max_tokens: 64,
            latent_norm: LatentNorm::L2,
            gaussian_posterior: false,
        }
    }
}

/// The normalisation of latent vectors inside the autoencoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LatentNorm {
    /// Every vector is brought to the norm `sqrt(latent_dim)`, see
    /// [`l2_normalize_latents`](crate::l2_normalize_latents).
    #[default]
    L2,
    /// Vectors stay as they are; a diffusion on them wants
    /// [`LatentStatistics`](crate::LatentStatistics).
    None,
}

impl PerceiverConfig {
    /// A Perceiver with fresh parameters on `device`.
    ///
    /// Linear layers start from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), position tables from N(0, 1),
    /// the latent queries from N(0, 0.02). Parameters are drawn from the device's generator when
    /// they are first used.
    ///
    /// # Panics
    /// If [`validate`](Self::validate) refuses the settings.
    pub fn init(&self, device: &Device) -> Perceiver {
        if let Err(error) = self.validate() {
            panic!("{error}");
        }
        Perceiver::new(self, device)
    }

    /// Checks the settings; to be called on those that come from outside.
    ///
    /// # Errors
    /// [`AutoencoderError::Setting`] names the first setting that can't be used.
    pub fn validate(&self) -> Result<(), AutoencoderError> {
        check_sizes(&[
            ("dim_lm", self.dim_lm),
            ("latents", self.latents),
            ("latent_dim", self.latent_dim),
            ("layers", self.layers),
            ("head_dim", self.head_dim),
            ("ff_mult", self.ff_mult),
            ("max_tokens", self.max_tokens),
        ])?;
        for (setting, width) in [("dim_lm", self.dim_lm), ("latent_dim", self.inner_dim())] {
            if !width.is_multiple_of(self.head_dim) {
                let problem = format!("it must be a multiple of `head_dim` = {}", self.head_dim);
                return refuse(setting, width, problem);
            }
        }
        Ok(())
    }

    /// Checks the settings, also against the language model that the autoencoder is for.
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

    /// Width of all heads together in the compression network.
    pub(crate) fn inner_dim(&self) -> usize {
        self.dim_lm.max(self.latent_dim)
    }
}

/// Checks sizes, each with the name of its setting.
pub(crate) fn check_sizes(sizes: &[(&'static str, usize)]) -> Result<(), AutoencoderError> {
    for &(setting, value) in sizes {
        if !(1..=LARGEST_SIZE).contains(&value) {
            return refuse(setting, value, format!("it must lie in 1..={LARGEST_SIZE}"));
        }
    }
    Ok(())
}

/// Checks that the language model has states of this width, of texts of so many tokens.
pub(crate) fn check_fit(
    dim_lm: usize,
    max_tokens: usize,
    language_model: &EncoderDecoderConfig,
) -> Result<(), AutoencoderError> {
    if dim_lm != language_model.d_model() {
        let problem = format!("the language model's d_model is {}", language_model.d_model());
        return refuse("dim_lm", dim_lm, problem);
    }
    match language_model.max_positions() {
        Some(positions) if max_tokens > positions => {
            let problem = format!("the language model has only {positions} positions");
            refuse("max_tokens", max_tokens, problem)
        }
        _ => Ok(()),
    }
}

fn refuse(
    setting: &'static str,
    value: impl ToString,
    problem: impl Into<String>,
) -> Result<(), AutoencoderError> {
    Err(AutoencoderError::Setting { setting, value: value.to_string(), problem: problem.into() })
}
