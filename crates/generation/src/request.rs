use latent_text_autoencoder::Latents;
use latent_text_conditioning::Similarity;
use latent_text_diffusion::{GuidanceConfig, SamplerKind, Spacing};
use latent_text_language_model::GenerationConfig;
use serde::{Deserialize, Serialize};

use crate::GenerationError;

/// Far beyond what a sampler gains from; a plan holds some numbers for each step.
const MOST_STEPS: usize = 1_000_000;
const LARGEST_BATCH: usize = 1 << 16;
const MOST_CANDIDATES: usize = 1024;

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
    /// Source texts that texts are written for in turn: text `i` for source `i % sources.len()`.
    pub sources: Vec<String>,
    /// Lets a model for sources write texts without one; default false, which makes that an error.
    pub without_source: bool,
    /// Cuts sources off that are longer than the model's limit; default false, which makes them an
    /// error.
    pub truncate_sources: bool,
    /// How the predictions with and without the condition are combined; default: the model's own
    /// setting where there is a condition, nothing where there is none.
    pub guidance: Option<GuidanceConfig>,
    /// How many latents texts get, for a model of latents in varying number; default: predicted if the
    /// model has a predictor of lengths and the request what it looks at, else drawn from those of the
    /// training set.
    pub lengths: Option<Lengths>,
    /// How many candidates are sampled for a text, from 1 to 1,024; default 1. Candidate `k` of text `i`
    /// of a seed does not depend on their number; the first is what a single one would be.
    pub candidates: usize,
    /// Which of the candidates becomes the text; default the first.
    pub choice: Choice,
    /// Adds all candidates to the result, the first one first; default false.
    pub with_candidates: bool,
    /// Adds the text's latents to the result; default false.
    pub with_latents: bool,
    /// Network calls for a text without guidance, which may take two in a step, from 1 to 1,000,000;
    /// default: the model's own setting.
    pub steps: Option<usize>,
    /// The sampler; default: the model's own setting.
    pub sampler: Option<SamplerKind>,
    /// How the noise levels of the steps are spread; default: the model's own setting.
    pub spacing: Option<Spacing>,
    /// Norm rescale of the estimates; default: the model's own setting. An error where latents are not
    /// l2-normalised, whose norms mean something.
    pub rescale_x0: Option<bool>,
    /// How latents are decoded; default: the model's own setting.
    pub decoding: Option<GenerationConfig>,
    /// Texts that are sampled together, from 1 to 65,536; default 32. Each candidate counts as one, but
    /// those of a text always are together.
    pub batch_size: usize,
    /// Lets the device record a network call and replay it in all steps, on GPUs that do so (CUDA, and what
    /// WebGPU runs on) and from 20 calls for a text on, and what decoding does for a token
    /// ([`GenerationConfig::graphs`]); default true. It makes small batches much faster and keeps some memory
    /// until all texts are there. Latents are the same but for rounding.
    ///
    /// On CUDA, load the model on the thread that generates: with tensors of other threads nothing is recorded,
    /// and a thread finds that out with three recordings that fail. And while one thread records, no other one
    /// should work on the device: CUDA refuses new memory to the whole process meanwhile, so that the others'
    /// work can fail. Set it to false where several threads generate at a time.
    pub graphs: bool,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            count: 1,
            seed: 0,
            labels: Vec::new(),
            sources: Vec::new(),
            without_source: false,
            truncate_sources: false,
            guidance: None,
            lengths: None,
            candidates: 1,
            choice: Choice::First,
            with_candidates: false,
            with_latents: false,
            steps: None,
            sampler: None,
            spacing: None,
            rescale_x0: None,
            decoding: None,
            batch_size: 32,
            graphs: true,
        }
    }
}

impl Request {
    pub(crate) fn check(&self) -> Result<(), GenerationError> {
        let settings = [
            ("steps", self.steps, MOST_STEPS),
            ("candidates", Some(self.candidates), MOST_CANDIDATES),
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
        if self.choice == Choice::Coverage && self.sources.is_empty() {
            return Err(GenerationError::Request(
                "choice is coverage, the share of a source's words, but there are no sources; give some, or \
                 choose by mbr or likelihood"
                    .into(),
            ));
        }
        Ok(())
    }
}

/// How many latents texts get where their number varies: as many as they are to have tokens, special ones
/// included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lengths {
    /// Each text and each candidate gets a length that is drawn from those of the training set.
    Drawn,
    /// These, which the texts take in turn; all candidates of a text have its length.
    Given(Vec<usize>),
    /// Each text and each candidate gets a length that is drawn from what the model's predictor says for
    /// its conditions.
    Predicted,
}

/// How one of a text's candidates is chosen. The first wins where several are equally good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// The first, which is a random one. The others are sampled only if the request wants to see them.
    #[default]
    First,
    /// The one that says most of its source; the score is the share of the source's words that it
    /// contains, see [`coverage`](latent_text_conditioning::coverage). It needs sources. Made for
    /// data-to-text, where a text that leaves something out is wrong; it rewards copying.
    Coverage,
    /// Minimum Bayes risk: the one that is most like all others. Its score is the sum of its
    /// similarities to them.
    Mbr(Similarity),
    /// The one that the decoder finds most likely for the latents that it was decoded from; the score
    /// is that of [`log_likelihoods`](crate::LatentText::log_likelihoods).
    Likelihood,
}

/// A generated text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generated {
    /// Its place in the request, from 0.
    pub index: usize,
    /// The text.
    pub text: String,
    /// The label it was asked to have.
    pub label: Option<String>,
    /// The source that it was written for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// How many latents it was to have, where their number varies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<usize>,
    /// The request's seed.
    pub seed: u64,
    /// By what it was chosen from its candidates; none for the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// All candidates, if the request wants to see them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<String>,
    /// The latent vectors that it was decoded from, in the space that the diffusion runs in, if the
    /// request wants to see them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latents: Option<Vec<Vec<f32>>>,
}

/// What a callback sees after each denoising step.
pub struct StepPreview<'a> {
    /// Index of the first text of the batch.
    pub first: usize,
    /// Texts in the batch.
    pub texts: usize,
    /// Candidates of each text.
    pub candidates: usize,
    /// Steps taken of this batch, from 1.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// The current estimate of the clean latents, `[texts * candidates, latents, dim]`: those of the
    /// first text's candidates, then those of the second's, .. They can be decoded with
    /// [`decode`](crate::LatentText::decode).
    pub x0: &'a Latents,
}
