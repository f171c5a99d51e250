use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use latent_text_language_model::{
    Bart, BartConfig, GenerationConfig, SpecialTokens, TextTokenizer, TokenBatch, cross_entropy,
    shift_right,
};

use super::mean;
use crate::TrainingError;
use crate::noising::{Noising, NoisingConfig, split_sentences};
use crate::order::{BatchOrder, EpochPermutation, generator};
use crate::padding::Padding;
use crate::trainer::{Stage, Validation};

/// A text as the pretraining reads it: the token ids of its sentences, without special tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PretrainingText {
    sentences: Vec<Vec<u32>>,
}

impl PretrainingText {
    /// Tokenises `texts` sentence by sentence and cuts long ones into pieces that fit into
    /// `max_tokens`, between sentences where that is possible.
    ///
    /// # Errors
    /// What the tokenizer answers.
    pub fn prepare(
        texts: &[String],
        tokenizer: &TextTokenizer,
        max_tokens: usize,
    ) -> Result<Vec<Self>, TrainingError> {
        let special = tokenizer.special_tokens();
        let room = room(&special, max_tokens);
        let sentences: Vec<Vec<&str>> = texts.iter().map(|text| split_sentences(text)).collect();
        let flat: Vec<&str> = sentences.iter().flatten().copied().collect();
        let mut encoded = tokenizer.encode_batch(&flat, usize::MAX)?.ids.into_iter();
        let mut pieces = Vec::with_capacity(texts.len());
        for sentence_count in sentences.iter().map(Vec::len) {
            let mut piece = Self { sentences: Vec::new() };
            for sentence in encoded.by_ref().take(sentence_count) {
                let start = special.bos.iter().len();
                for part in sentence[start..sentence.len() - 1].chunks(room) {
                    if piece.len() + part.len() > room {
                        pieces.push(std::mem::replace(&mut piece, Self { sentences: Vec::new() }));
                    }
                    piece.sentences.push(part.to_vec());
                }
            }
            if piece.len() > 0 {
                pieces.push(piece);
            }
        }
        Ok(pieces)
    }

    fn len(&self) -> usize {
        self.sentences.iter().map(Vec::len).sum()
    }
}

/// BART's pretraining: the model restores texts whose sentences were permuted and whose spans were
/// masked (Lewis et al. 2020, section 2.2).
pub struct LanguageModelStage {
    config: BartConfig,
    tokenizer: TextTokenizer,
    corruption: Corruption,
    train: Arc<Vec<PretrainingText>>,
    validation: Arc<Vec<PretrainingText>>,
    batch_size: usize,
    device: Device,
}

/// The data and settings of a [`LanguageModelStage`].
pub struct LanguageModelInputs {
    /// Training texts.
    pub train: Vec<PretrainingText>,
    /// Validation texts.
    pub validation: Vec<PretrainingText>,
    /// Samples in a batch.
    pub batch_size: usize,
    /// Lengths of the batches.
    pub padding: Padding,
    /// Seed of order and corruption.
    pub seed: u64,
}

impl LanguageModelStage {
    /// A stage for a model of the given architecture on `device` (without autodiff).
    ///
    /// # Errors
    /// [`TrainingError::Noising`] for settings out of range.
    pub fn new(
        config: BartConfig,
        tokenizer: TextTokenizer,
        noising: &NoisingConfig,
        inputs: LanguageModelInputs,
        device: &Device,
    ) -> Result<Self, TrainingError> {
        let special = tokenizer.special_tokens();
        let vocabulary = tokenizer.vocab_size() as u32;
        let mask = special.mask.ok_or_else(|| {
            TrainingError::setting("language_model", "the tokenizer has no mask token")
        })?;
        let mut others = vec![special.eos, special.pad];
        others.extend(special.bos);
        others.extend(special.unk);
        let corruption = Corruption {
            noising: noising.init(mask, &others, vocabulary)?,
            special,
            padding: inputs.padding,
            seed: inputs.seed,
        };
        Ok(Self {
            config,
            tokenizer,
            corruption,
            train: Arc::new(inputs.train),
            validation: Arc::new(inputs.validation),
            batch_size: inputs.batch_size,
            device: device.clone(),
        })
    }
}

/// Corrupted texts and what they were.
pub struct DenoisingBatch {
    corrupted: TokenBatch,
    original: TokenBatch,
}

/// Validation never reads more batches than this.
const VALIDATION_BATCHES: usize = 4;

impl LanguageModelStage {
    fn batch_loss(&self, model: &Bart, batch: DenoisingBatch, device: &Device) -> Tensor<1> {
        let padding = self.corruption.padding;
        let (ids, mask) = padding.tensors(&batch.corrupted, device);
        let states = model.encode(ids, Some(mask.clone()));
        let (labels, counted) = padding.tensors(&batch.original, device);
        let read = shift_right(labels.clone(), self.config.decoder_start_token_id);
        cross_entropy(model.decode(read, states, Some(mask)), labels, counted)
    }
}

impl Stage for LanguageModelStage {
    type Model = Bart;
    type Batch = DenoisingBatch;

    fn name(&self) -> &'static str {
        "language-model"
    }

    fn batches(&self) -> Box<dyn FnMut(u64) -> DenoisingBatch + Send> {
        let texts = self.train.clone();
        let corruption = self.corruption.clone();
        let order = BatchOrder::new(texts.len(), self.batch_size, corruption.seed);
        let order = corruption.padding.order(order, texts.iter().map(PretrainingText::len));
        let mut permutation = EpochPermutation::default();
        Box::new(move |batch| {
            let chosen: Vec<&PretrainingText> =
                order.indices(batch, &mut permutation).iter().map(|&index| &texts[index]).collect();
            corruption.batch(&chosen, batch)
        })
    }

    fn loss(&self, model: &Bart, batch: DenoisingBatch) -> Tensor<1> {
        self.batch_loss(model, batch, &self.device.clone().autodiff())
    }

    fn validate(&self, model: &Bart, samples: usize) -> Result<Validation, TrainingError> {
        let mut losses = Vec::new();
        for (index, texts) in
            self.validation.chunks(self.batch_size).take(VALIDATION_BATCHES).enumerate()
        {
            let texts: Vec<&PretrainingText> = texts.iter().collect();
            let batch = self.corruption.batch(&texts, u64::MAX - index as u64);
            losses.push(self.batch_loss(model, batch, &self.device));
        }
        let shown: Vec<&PretrainingText> = self.validation.iter().take(samples).collect();
        Ok(Validation {
            values: vec![("loss".to_string(), mean(losses)?)],
            texts: self.restored(model, &shown)?,
        })
    }
}

impl LanguageModelStage {
    /// Texts and what the model makes of them once they are corrupted, one line each.
    fn restored(
        &self,
        model: &Bart,
        texts: &[&PretrainingText],
    ) -> Result<Vec<String>, TrainingError> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let batch = self.corruption.batch(texts, u64::MAX);
        let (ids, mask) = self.corruption.padding.tensors(&batch.corrupted, &self.device);
        let states = model.encode(ids, Some(mask.clone()));
        let generation = GenerationConfig {
            max_length: self.corruption.padding.max_tokens,
            ..Default::default()
        };
        let seeds = vec![self.corruption.seed; texts.len()];
        let restored = model.generate(states, Some(mask), &generation, &seeds)?;
        texts
            .iter()
            .zip(restored)
            .map(|(text, restored)| {
                let original = self.tokenizer.decode(&text.sentences.concat())?;
                Ok(format!("{original} -> {}", self.tokenizer.decode(&restored.ids)?))
            })
            .collect()
    }
}

/// What the batch-making thread needs of the stage.
#[derive(Clone)]
struct Corruption {
    noising: Noising,
    special: SpecialTokens,
    padding: Padding,
    seed: u64,
}

impl Corruption {
    fn batch(&self, texts: &[&PretrainingText], draw: u64) -> DenoisingBatch {
        let original: Vec<Vec<u32>> =
            texts.iter().map(|text| self.framed(text.sentences.concat())).collect();
        let corrupted = self.corrupted_rows(texts, draw);
        DenoisingBatch {
            corrupted: TokenBatch { ids: corrupted, pad_id: self.special.pad },
            original: TokenBatch { ids: original, pad_id: self.special.pad },
        }
    }

    fn corrupted_rows(&self, texts: &[&PretrainingText], draw: u64) -> Vec<Vec<u32>> {
        // A stream of its own, apart from the order of the samples and the noise on the device.
        let mut rng = generator(self.seed ^ 0x6e6f_6973, draw);
        texts
            .iter()
            .map(|text| self.framed(self.noising.corrupt(&text.sentences, &mut rng)))
            .collect()
    }

    fn framed(&self, mut tokens: Vec<u32>) -> Vec<u32> {
        tokens.truncate(room(&self.special, self.padding.max_tokens));
        if let Some(bos) = self.special.bos {
            tokens.insert(0, bos);
        }
        tokens.push(self.special.eos);
        tokens
    }
}

/// Tokens of a text that fit between its start and end tokens.
fn room(special: &SpecialTokens, max_tokens: usize) -> usize {
    max_tokens.saturating_sub(1 + special.bos.iter().len()).max(1)
}
