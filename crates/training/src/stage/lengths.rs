use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use latent_text_conditioning::{ClassLabels, LengthPredictor};
use serde::{Deserialize, Serialize};

use super::{DiffusionSet, mean};
use crate::TrainingError;
use crate::order::{BatchOrder, EpochPermutation, generator};
use crate::trainer::{Stage, TrainerConfig, Validation};

/// How a predictor of lengths is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LengthsSection {
    /// Width of its hidden layer; default 256.
    pub hidden: usize,
    /// Steps, batches, optimiser.
    pub training: TrainerConfig,
}

impl Default for LengthsSection {
    fn default() -> Self {
        Self { hidden: 256, training: TrainerConfig::default() }
    }
}

impl LengthsSection {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`TrainingError::Setting`], naming the setting.
    pub fn check(&self) -> Result<(), TrainingError> {
        if self.hidden == 0 {
            return Err(TrainingError::setting("diffusion.lengths.hidden", "must be at least 1"));
        }
        self.training.check("diffusion.lengths.training")
    }
}

/// Trains what predicts how many latents a text has, from its source, its class or both.
pub struct LengthStage {
    /// The classes, if it looks at them.
    pub labels: Option<ClassLabels>,
    /// Probability with which a text's class is replaced by the null class.
    pub class_dropout: f64,
    /// Training texts.
    pub train: Arc<DiffusionSet>,
    /// Validation texts.
    pub validation: Arc<DiffusionSet>,
    /// Samples in a batch.
    pub batch_size: usize,
    /// Seed of the order and of the dropout of classes.
    pub seed: u64,
    /// The device, without autodiff.
    pub device: Device,
}

/// Which texts, and under which classes.
pub struct LengthBatch {
    indices: Vec<i32>,
    classes: Option<Vec<usize>>,
}

/// Validation never reads more batches than this.
const VALIDATION_BATCHES: u64 = 16;

impl Stage for LengthStage {
    type Model = LengthPredictor;
    type Batch = LengthBatch;

    fn name(&self) -> &'static str {
        "lengths"
    }

    fn class_names(&self) -> Option<&[String]> {
        self.labels.as_ref().map(ClassLabels::names)
    }

    fn batches(&self) -> Box<dyn FnMut(u64) -> LengthBatch + Send> {
        self.batch_maker(&self.train, self.class_dropout)
    }

    fn loss(&self, model: &LengthPredictor, batch: LengthBatch) -> Tensor<1> {
        self.loss_on(model, &self.train, &batch, true)
    }

    fn validate(&self, model: &LengthPredictor, _: usize) -> Result<Validation, TrainingError> {
        let mut make = self.batch_maker(&self.validation, 0.0);
        let losses = (0..VALIDATION_BATCHES)
            .map(|index| self.loss_on(model, &self.validation, &make(index), false))
            .collect();
        Ok(Validation { values: vec![("loss".to_string(), mean(losses)?)], texts: Vec::new() })
    }
}

impl LengthStage {
    fn batch_maker(
        &self,
        set: &DiffusionSet,
        class_dropout: f64,
    ) -> Box<dyn FnMut(u64) -> LengthBatch + Send> {
        let order = BatchOrder::new(set.latents.len(), self.batch_size, self.seed);
        let classes =
            self.labels.as_ref().map(|labels| (labels.clone(), set.latents.classes().to_vec()));
        let (seed, mut permutation) = (self.seed, EpochPermutation::default());
        Box::new(move |batch| {
            let indices = order.indices(batch, &mut permutation);
            // Apart from the order of the samples.
            let mut rng = generator(seed ^ 0x006c_656e, batch);
            let classes = classes.as_ref().map(|(labels, classes)| {
                let chosen: Vec<usize> = indices.iter().map(|&index| classes[index]).collect();
                labels.drop_per_sample(&chosen, class_dropout, &mut rng)
            });
            LengthBatch { indices: indices.iter().map(|&index| index as i32).collect(), classes }
        })
    }

    fn loss_on(
        &self,
        model: &LengthPredictor,
        set: &DiffusionSet,
        batch: &LengthBatch,
        trained: bool,
    ) -> Tensor<1> {
        let lengths: Vec<usize> =
            batch.indices.iter().map(|&text| set.latents.length(text as usize)).collect();
        let source = set.sources.as_ref().map(|sources| {
            let (states, mask) = sources.read(&batch.indices);
            if trained { (states.autodiff(), mask.autodiff()) } else { (states, mask) }
        });
        let classes = self.labels.as_ref().zip(batch.classes.as_ref()).map(|(labels, classes)| {
            let classes = labels.tensor(classes, &self.device);
            if trained { classes.autodiff() } else { classes }
        });
        let logits = model.forward(source.as_ref().map(|(states, mask)| (states, mask)), classes);
        model.loss(logits, &lengths).expect("texts have from 1 to as many latents as they may have")
    }
}
