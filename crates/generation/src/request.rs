use burn::tensor::Tensor;
use latent_text_diffusion::SamplerKind;
use latent_text_language_model::GenerationConfig;
use serde::{Deserialize, Serialize};

use crate::GenerationError;

/// Far beyond what a sampler gains from; a plan holds some numbers for each step.
const MOST_STEPS: usize = 1_000_000;
const LARGEST_BATCH: usize = 1 << 16;

/// What to generate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// How many texts; default 1.
    pub count: usize,
    /// Seed of all randomness; default 0. Text `i` of a seed does not depend on `count`.
    pub seed: u64,
    /// Labels that the texts take in turn; none, the default, generates without a class.
    pub labels: Vec<String>,
    /// Network calls for a text, from 1 to 1,000,000; default: the model's own setting.
    pub steps: Option<usize>,
    /// The sampler; default: the model's own setting.
    pub sampler: Option<SamplerKind>,
    /// Norm rescale of the estimates; default: the model's own setting.
    pub rescale_x0: Option<bool>,
    /// How latents are decoded; default: the model's own setting.
    pub decoding: Option<GenerationConfig>,
    /// Texts that are sampled together, from 1 to 65,536; default 32.
    pub batch_size: usize,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            count: 1,
            seed: 0,
            labels: Vec::new(),
            steps: None,
            sampler: None,
            rescale_x0: None,
            decoding: None,
            batch_size: 32,
        }
    }
}

impl Request {
    pub(crate) fn check(&self) -> Result<(), GenerationError> {
        let settings = [
            ("steps", self.steps, MOST_STEPS),
            ("batch_size", Some(self.batch_size), LARGEST_BATCH),
        ];
        for (setting, value, most) in settings {
            if let Some(value) = value
                && !(1..=most).contains(&value)
            {
                return Err(GenerationError::Request(format!(
                    "{setting} is {value}, it must lie in 1..={most}"
                )));
            }
        }
        Ok(())
    }
}

/// A generated text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generated {
    /// Its place in the request, from 0.
    pub index: usize,
    /// The text.
    pub text: String,
    /// The label it was asked to have.
    pub label: Option<String>,
    /// The request's seed.
    pub seed: u64,
}

/// What a callback sees after each denoising step.
pub struct StepPreview<'a> {
    /// Index of the first text of the batch.
    pub first: usize,
    /// Texts in the batch.
    pub texts: usize,
    /// Steps taken of this batch, from 1.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// The current estimate of the clean latents, `[texts, latents, dim]`, to be decoded with
    /// [`decode`](crate::LatentText::decode).
    pub x0: &'a Tensor<3>,
}
