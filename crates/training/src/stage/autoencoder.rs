mod latent_noise;
mod model;
mod objective;
mod token_dropout;

use std::sync::Arc;

use burn::tensor::{Bool, Device, Int, Tensor};
use latent_text_autoencoder::Perceiver;
use latent_text_language_model::{
    EncoderDecoderConfig, GenerationConfig, LanguageModel, TextTokenizer, TokenBatch,
    cross_entropy, shift_language_first, shift_right,
};

pub use model::{AutoencoderModel, FineTunedAutoencoder, FrozenLanguageModel};
pub use objective::{AutoencoderObjective, LanguageModelMode, TokenReplacement};

use super::mean;
use crate::TrainingError;
use crate::order::{BatchOrder, EpochPermutation};
use crate::padding::Padding;
use crate::trainer::{Precision, Stage, Validation};
use latent_noise::with_noise;
use token_dropout::TokenDropout;

/// Trains the Perceiver between the encoder and the decoder of a language model (LD4LG, section 3.1):
/// alone, the language model being frozen, or both as a [`FineTunedAutoencoder`].
pub struct AutoencoderStage<M: AutoencoderModel> {
    frozen: M::Frozen,
    config: EncoderDecoderConfig,
    tokenizer: TextTokenizer,
    objective: AutoencoderObjective,
    token_dropout: Option<TokenDropout>,
    train: Arc<Vec<Vec<u32>>>,
    validation: Arc<Vec<Vec<u32>>>,
    batch_size: usize,
    padding: Padding,
    seed: u64,
    device: Device,
}

/// The data and settings of an [`AutoencoderStage`].
pub struct AutoencoderInputs {
    /// Training texts as token ids with special tokens.
    pub train: Vec<Vec<u32>>,
    /// Validation texts.
    pub validation: Vec<Vec<u32>>,
    /// Samples in a batch.
    pub batch_size: usize,
    /// Lengths of the batches.
    pub padding: Padding,
    /// Seed of the order and of the token dropout.
    pub seed: u64,
    /// Number format of the passes.
    pub precision: Precision,
}

/// Texts to encode, and what the decoder is shown of them if tokens are dropped.
pub struct AutoencoderBatch {
    texts: TokenBatch,
    shown: Option<TokenBatch>,
}

/// What a batch costs.
struct Losses {
    reconstruction: Tensor<1>,
    kl: Option<Tensor<1>>,
}

/// Validation never reads more batches than this.
const VALIDATION_BATCHES: usize = 4;

impl<M: AutoencoderModel> AutoencoderStage<M> {
    /// A stage on `language_model`, which must be on `device` (without autodiff). Its network is kept
    /// only where it is frozen.
    ///
    /// # Errors
    /// [`TrainingError::Setting`] for an objective out of range, or one that the language model's
    /// tokenizer or configuration does not go with.
    pub fn new(
        language_model: &LanguageModel,
        objective: AutoencoderObjective,
        inputs: AutoencoderInputs,
        device: &Device,
    ) -> Result<Self, TrainingError> {
        objective.check()?;
        check_start_token(language_model, &inputs.train)?;
        let dropout = objective.language_model_dropout;
        let frozen = M::frozen(&language_model.model, inputs.precision.dtype(), dropout);
        let token_dropout = TokenDropout::new(&objective, &language_model.tokenizer, inputs.seed)?;
        Ok(Self {
            frozen,
            config: language_model.config.clone(),
            tokenizer: language_model.tokenizer.clone(),
            objective,
            token_dropout,
            train: Arc::new(inputs.train),
            validation: Arc::new(inputs.validation),
            batch_size: inputs.batch_size,
            padding: inputs.padding,
            seed: inputs.seed,
            device: device.clone(),
        })
    }

    fn losses(&self, model: &M, batch: &AutoencoderBatch, trains: bool) -> Losses {
        let (ids, mask) = self.padding.tensors(&batch.texts, &self.device);
        let shown = match &batch.shown {
            None => ids.clone(),
            Some(shown) => self.padding.tensors(shown, &self.device).0,
        };
        let states = model.encode(&self.frozen, ids.clone(), mask.clone(), trains);
        let (ids, shown, mask) = if trains {
            (ids.autodiff(), shown.autodiff(), mask.autodiff())
        } else {
            (ids, shown, mask)
        };
        let (latents, kl) = self.latents(model.perceiver(), states, mask.clone(), trains);
        let states = model.perceiver().reconstruct(latents);
        let decoder = model.decoder(&self.frozen, trains);
        let logits = decoder.decode(self.decoder_input(shown), states, None);
        Losses { reconstruction: cross_entropy(logits, ids, mask), kl }
    }

    /// What the decoder's side is given, and the divergence of a Gaussian posterior.
    fn latents(
        &self,
        perceiver: &Perceiver,
        states: Tensor<3>,
        mask: Tensor<2, Bool>,
        trains: bool,
    ) -> (Tensor<3>, Option<Tensor<1>>) {
        let (latents, kl) = match perceiver.posterior(states.clone(), Some(mask.clone())) {
            None => (perceiver.compress(states, Some(mask)), None),
            Some(posterior) if trains => (posterior.draw(), Some(posterior.kl())),
            Some(posterior) => (posterior.mean.clone(), Some(posterior.kl())),
        };
        if trains && self.objective.latent_noise > 0.0 {
            let norm = perceiver.latent_norm();
            return (with_noise(latents, self.objective.latent_noise, norm), kl);
        }
        (latents, kl)
    }

    /// The token that the decoder starts with, then the texts without their last tokens.
    fn decoder_input(&self, texts: Tensor<2, Int>) -> Tensor<2, Int> {
        if self.config.shifts_language_first() {
            shift_language_first(texts, self.tokenizer.pad_id())
        } else {
            shift_right(texts, self.config.decoder_start_token_id())
        }
    }
}

/// The decoder of an mBART is trained to start with the token that texts end with; generation starts with
/// the one of the configuration.
fn check_start_token(
    language_model: &LanguageModel,
    texts: &[Vec<u32>],
) -> Result<(), TrainingError> {
    let config = &language_model.config;
    let last = texts.first().and_then(|text| text.last()).copied();
    let start = config.decoder_start_token_id();
    match last {
        Some(last) if config.shifts_language_first() && last != start => {
            Err(TrainingError::setting(
                "language_model.folder",
                format!(
                    "holds an mBART whose texts end with token {last}, with which its decoder has to \
                     start; set decoder_start_token_id, which is {start}, to {last} in its config.json \
                     and its generation_config.json"
                ),
            ))
        }
        _ => Ok(()),
    }
}

impl<M: AutoencoderModel> Stage for AutoencoderStage<M> {
    type Model = M;
    type Batch = AutoencoderBatch;

    fn name(&self) -> &'static str {
        "autoencoder"
    }

    fn batches(&self) -> Box<dyn FnMut(u64) -> AutoencoderBatch + Send> {
        let texts = self.train.clone();
        let order = BatchOrder::new(texts.len(), self.batch_size, self.seed);
        let order = self.padding.order(order, texts.iter().map(Vec::len));
        let pad_id = self.tokenizer.pad_id();
        let dropout = self.token_dropout.clone();
        let mut permutation = EpochPermutation::default();
        Box::new(move |batch| {
            let chosen = order.indices(batch, &mut permutation);
            let ids: Vec<Vec<u32>> = chosen.iter().map(|&index| texts[index].clone()).collect();
            let shown = dropout.as_ref().map(|dropout| dropout.apply(&ids, batch));
            AutoencoderBatch {
                texts: TokenBatch { ids, pad_id },
                shown: shown.map(|ids| TokenBatch { ids, pad_id }),
            }
        })
    }

    fn loss(&self, model: &M, batch: AutoencoderBatch) -> Tensor<1> {
        let Losses { reconstruction, kl } = self.losses(model, &batch, true);
        match kl {
            None => reconstruction,
            Some(kl) => reconstruction + kl * self.objective.kl,
        }
    }

    /// `loss` is the reconstruction alone, of whole texts from their latents as they are.
    fn validate(&self, model: &M, samples: usize) -> Result<Validation, TrainingError> {
        let (mut reconstruction, mut kl) = (Vec::new(), Vec::new());
        for rows in self.validation.chunks(self.batch_size).take(VALIDATION_BATCHES) {
            let batch = AutoencoderBatch { texts: self.token_batch(rows), shown: None };
            let losses = self.losses(model, &batch, false);
            reconstruction.push(losses.reconstruction);
            kl.extend(losses.kl);
        }
        let mut values = vec![("loss".to_string(), mean(reconstruction)?)];
        if !kl.is_empty() {
            values.push(("kl".to_string(), mean(kl)?));
        }
        let mut texts = Vec::new();
        if samples > 0 {
            let rows = &self.validation[..self.batch_size.min(self.validation.len())];
            let (exact, shown) = self.reconstructions(model, rows, samples)?;
            values.push(("exact".to_string(), exact));
            texts = shown;
        }
        Ok(Validation { values, texts })
    }
}

impl<M: AutoencoderModel> AutoencoderStage<M> {
    fn token_batch(&self, rows: &[Vec<u32>]) -> TokenBatch {
        TokenBatch { ids: rows.to_vec(), pad_id: self.tokenizer.pad_id() }
    }

    /// The share of `rows` that come back word for word, and some that do not (or do).
    fn reconstructions(
        &self,
        model: &M,
        rows: &[Vec<u32>],
        samples: usize,
    ) -> Result<(f64, Vec<String>), TrainingError> {
        let (ids, mask) = self.padding.tensors(&self.token_batch(rows), &self.device);
        let states = model.encode(&self.frozen, ids, mask.clone(), false);
        let perceiver = model.perceiver();
        let states = perceiver.reconstruct(perceiver.compress(states, Some(mask)));
        let generation =
            GenerationConfig { max_length: self.padding.max_tokens, ..Default::default() };
        let seeds = vec![self.seed; rows.len()];
        let decoder = model.decoder(&self.frozen, false);
        let decoded = decoder.generate(states, None, &generation, &seeds)?;
        let tokenizer = &self.tokenizer;
        let mut exact = 0;
        let mut shown = Vec::new();
        for (row, decoded) in rows.iter().zip(decoded) {
            let (original, decoded) = (tokenizer.decode(row)?, tokenizer.decode(&decoded.ids)?);
            if original == decoded {
                exact += 1;
            } else if shown.len() < samples {
                shown.push(format!("{original} -> {decoded}"));
            }
        }
        if shown.is_empty() {
            for row in rows.iter().take(samples) {
                shown.push(format!("{} (exact)", tokenizer.decode(row)?));
            }
        }
        Ok((exact as f64 / rows.len() as f64, shown))
    }
}
