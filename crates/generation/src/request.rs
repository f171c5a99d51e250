use burn::tensor::Tensor;
use latent_text_diffusion::SamplerKind;
use latent_text_language_model::GenerationConfig;
use serde::{Deserialize, Serialize};

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
    /// Network calls for a text; default: the model's own setting.
    pub steps: Option<usize>,
    /// The sampler; default: the model's own setting.
    pub sampler: Option<SamplerKind>,
    /// Norm rescale of the estimates; default: the model's own setting.
    pub rescale_x0: Option<bool>,
    /// How latents are decoded; default: the model's own setting.
    pub decoding: Option<GenerationConfig>,
    /// Texts that are sampled together; default 32.
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
