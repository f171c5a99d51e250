use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Distribution, Tensor};
use latent_text_autoencoder::Perceiver;
use latent_text_language_model::{
    EncoderDecoder, GenerationConfig, LanguageModel, TokenBatch, cross_entropy, shift_right,
};
use latent_text_nn::cast_module;
use serde::{Deserialize, Serialize};

use super::mean;
use crate::TrainingError;
use crate::order::{BatchOrder, EpochPermutation};
use crate::padding::Padding;
use crate::trainer::{Precision, Stage, Validation};

/// What the autoencoder is trained towards, beside reconstruction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AutoencoderObjective {
    /// Standard deviation of Gaussian noise on the latents while the decoder's side trains, which
    /// makes it forgiving of the small errors of sampled latents. 0, the default, is LD4LG.
    pub latent_noise: f64,
}

/// Trains the Perceiver between the encoder and the decoder of a frozen language model
/// (LD4LG, section 3.1).
pub struct AutoencoderStage {
    /// The frozen model, on the plain device, in the dtype of the passes.
    encoder: EncoderDecoder,
    /// The same model on the autodiff device, where gradients pass through it but not into it.
    decoder: EncoderDecoder,
    language_model: Arc<LanguageModel>,
    objective: AutoencoderObjective,
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
    /// Seed of the order.
    pub seed: u64,
    /// Number format of the passes.
    pub precision: Precision,
}

/// Validation never reads more batches than this.
const VALIDATION_BATCHES: usize = 4;

impl AutoencoderStage {
    /// A stage on a frozen `language_model`, which must be on `device` (without autodiff).
    pub fn new(
        language_model: Arc<LanguageModel>,
        objective: AutoencoderObjective,
        inputs: AutoencoderInputs,
        device: &Device,
    ) -> Self {
        let dtype = inputs.precision.dtype();
        let encoder = cast_module(language_model.model.clone(), dtype);
        Self {
            decoder: encoder.clone().freeze().train(),
            encoder,
            language_model,
            objective,
            train: Arc::new(inputs.train),
            validation: Arc::new(inputs.validation),
            batch_size: inputs.batch_size,
            padding: inputs.padding,
            seed: inputs.seed,
            device: device.clone(),
        }
    }

    fn batch(&self, rows: &[Vec<u32>]) -> TokenBatch {
        TokenBatch { ids: rows.to_vec(), pad_id: self.language_model.tokenizer.pad_id() }
    }

    /// Reconstruction loss; `decoder` and `device` are those of the pass.
    fn reconstruction_loss(
        &self,
        perceiver: &Perceiver,
        decoder: &EncoderDecoder,
        tokens: TokenBatch,
        device: &Device,
        noise: f64,
    ) -> Tensor<1> {
        let (labels, mask) = self.padding.tensors(&tokens, &self.device);
        let states = self.encoder.encode(labels.clone(), Some(mask.clone()));
        let (states, labels, mask) = if device.is_autodiff() {
            (states.autodiff(), labels.autodiff(), mask.autodiff())
        } else {
            (states, labels, mask)
        };
        let mut latents = perceiver.compress(states, Some(mask.clone()));
        if noise > 0.0 {
            let drawn = latents.random_like(Distribution::Normal(0.0, noise));
            latents = latents + drawn;
        }
        let states = perceiver.reconstruct(latents);
        let start = self.language_model.config.decoder_start_token_id();
        let logits = decoder.decode(shift_right(labels.clone(), start), states, None);
        cross_entropy(logits, labels, mask)
    }
}

impl Stage for AutoencoderStage {
    type Model = Perceiver;
    type Batch = TokenBatch;

    fn name(&self) -> &'static str {
        "autoencoder"
    }

    fn batches(&self) -> Box<dyn FnMut(u64) -> TokenBatch + Send> {
        let texts = self.train.clone();
        let order = BatchOrder::new(texts.len(), self.batch_size, self.seed);
        let order = self.padding.order(order, texts.iter().map(Vec::len));
        let pad_id = self.language_model.tokenizer.pad_id();
        let mut permutation = EpochPermutation::default();
        Box::new(move |batch| {
            let chosen = order.indices(batch, &mut permutation);
            TokenBatch { ids: chosen.iter().map(|&index| texts[index].clone()).collect(), pad_id }
        })
    }

    fn loss(&self, model: &Perceiver, batch: TokenBatch) -> Tensor<1> {
        let device = self.device.clone().autodiff();
        self.reconstruction_loss(model, &self.decoder, batch, &device, self.objective.latent_noise)
    }

    fn validate(&self, model: &Perceiver, samples: usize) -> Result<Validation, TrainingError> {
        let mut losses = Vec::new();
        for rows in self.validation.chunks(self.batch_size).take(VALIDATION_BATCHES) {
            let tokens = self.batch(rows);
            losses.push(self.reconstruction_loss(model, &self.encoder, tokens, &self.device, 0.0));
        }
        let mut values = vec![("loss".to_string(), mean(losses)?)];
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

impl AutoencoderStage {
    /// The share of `rows` that come back word for word, and some that do not (or do).
    fn reconstructions(
        &self,
        perceiver: &Perceiver,
        rows: &[Vec<u32>],
        samples: usize,
    ) -> Result<(f64, Vec<String>), TrainingError> {
        let tokens = self.batch(rows);
        let (ids, mask) = self.padding.tensors(&tokens, &self.device);
        let states = self.encoder.encode(ids, Some(mask.clone()));
        let states = perceiver.reconstruct(perceiver.compress(states, Some(mask)));
        let generation =
            GenerationConfig { max_length: self.padding.max_tokens, ..Default::default() };
        let seeds = vec![self.seed; rows.len()];
        let decoded = self.encoder.generate(states, None, &generation, &seeds)?;
        let tokenizer = &self.language_model.tokenizer;
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
