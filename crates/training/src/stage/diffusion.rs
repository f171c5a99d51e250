//! The third stage: a denoiser of latents.

mod batches;
mod estimate;
mod noisy;
mod objective;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Bool, Device, Tensor, TensorData};
use latent_text_conditioning::ClassLabels;
use latent_text_denoiser::{Conditions, DenoisingNetwork};
use latent_text_diffusion::{
    NoiseSchedule, Prediction, TimeSampler, loss_per_sample, masked_loss_per_sample,
};

pub use batches::DiffusionBatch;
pub use objective::DiffusionObjective;

use super::mean;
use crate::TrainingError;
use crate::latents::LatentSet;
use crate::source::SourceSet;
use crate::trainer::{Stage, Validation};
use batches::ConditionDropout;
use estimate::Estimate;

/// Turns sampled latents into texts for the log: given a denoiser and a number of samples.
pub type SampleDecoder =
    dyn Fn(&DenoisingNetwork, usize) -> Result<Vec<String>, TrainingError> + Send + Sync;

/// Texts as the denoiser is trained on them.
pub struct DiffusionSet {
    /// Their latents and classes.
    pub latents: LatentSet,
    /// What they are written for, one source for each, if the model is to have sources.
    pub sources: Option<SourceSet>,
}

/// Trains the denoiser on latents that were computed beforehand.
pub struct DiffusionStage {
    /// The objective.
    pub objective: DiffusionObjective,
    /// The noise schedule.
    pub schedule: NoiseSchedule,
    /// What the network predicts.
    pub prediction: Prediction,
    /// Whether estimates are rescaled to norm `sqrt(dim)`, as l2-normalised latents have it.
    pub rescale_estimate: bool,
    /// The classes, if the model is class-conditional.
    pub labels: Option<ClassLabels>,
    /// Draws the times of a batch.
    pub times: TimeSampler,
    /// How many entries the discrete schedule has, at least 2, if the network is told which of them is
    /// meant; times are then those of entries.
    pub steps: Option<usize>,
    /// Training texts.
    pub train: Arc<DiffusionSet>,
    /// Validation texts.
    pub validation: Arc<DiffusionSet>,
    /// Samples in a batch.
    pub batch_size: usize,
    /// Seed of order, times and dropout of conditions.
    pub seed: u64,
    /// The device, without autodiff.
    pub device: Device,
    /// Decodes samples for the log.
    pub decode_samples: Box<SampleDecoder>,
}

/// Validation never reads more batches than this.
const VALIDATION_BATCHES: u64 = 4;

impl Stage for DiffusionStage {
    type Model = DenoisingNetwork;
    type Batch = DiffusionBatch;

    fn name(&self) -> &'static str {
        "diffusion"
    }

    fn class_names(&self) -> Option<&[String]> {
        self.labels.as_ref().map(ClassLabels::names)
    }

    fn batches(&self) -> Box<dyn FnMut(u64) -> DiffusionBatch + Send> {
        let DiffusionObjective { class_dropout, source_dropout, .. } = self.objective;
        let dropout = ConditionDropout { class: class_dropout, source: source_dropout };
        self.batch_maker(&self.train, dropout)
    }

    fn loss(&self, model: &DenoisingNetwork, batch: DiffusionBatch) -> Tensor<1> {
        let noisy = self.noisy(&self.train, &batch);
        let estimate = self.estimate(&model.valid(), &noisy);
        let device = self.device.clone().autodiff();
        let conditions = Conditions {
            self_cond: estimate.map(|estimate| estimate.on_autodiff(&device)),
            classes: noisy.classes.map(|classes| classes.autodiff()),
            source: noisy.source.map(|source| model.read_source(source.on_autodiff(&device))),
            mask: noisy.mask.clone().map(|mask| mask.autodiff()),
        };
        let output = model.forward(noisy.z.autodiff(), noisy.time.autodiff(), conditions);
        let mask = noisy.mask.map(|mask| mask.autodiff());
        let weights = noisy.weights.map(|weights| weights.autodiff());
        self.batch_loss(output, noisy.target.autodiff(), mask, weights)
    }

    fn validate(
        &self,
        model: &DenoisingNetwork,
        samples: usize,
    ) -> Result<Validation, TrainingError> {
        let mut make = self.batch_maker(&self.validation, ConditionDropout::NONE);
        let mut losses = Vec::new();
        for index in 0..VALIDATION_BATCHES {
            let noisy = self.noisy(&self.validation, &make(index));
            let estimate = self.estimate(model, &noisy);
            let conditions = Conditions {
                self_cond: estimate.map(Estimate::on_plain),
                classes: noisy.classes,
                source: noisy.source.map(|source| model.read_source(source.on_plain())),
                mask: noisy.mask.clone(),
            };
            let output = model.forward(noisy.z, noisy.time, conditions);
            losses.push(self.batch_loss(output, noisy.target, noisy.mask, noisy.weights));
        }
        let texts = if samples > 0 { (self.decode_samples)(model, samples)? } else { Vec::new() };
        Ok(Validation { values: vec![("loss".to_string(), mean(losses)?)], texts })
    }
}

impl DiffusionStage {
    /// The mean over the samples of each one's loss over its real latents, times its weight.
    fn batch_loss(
        &self,
        output: Tensor<3>,
        target: Tensor<3>,
        mask: Option<Tensor<2, Bool>>,
        weights: Option<Tensor<1>>,
    ) -> Tensor<1> {
        let kind = self.objective.loss;
        let losses = match mask {
            None => loss_per_sample(kind, output, target),
            Some(mask) => masked_loss_per_sample(kind, output, target, mask),
        };
        match weights {
            None => losses.mean(),
            Some(weights) => (losses * weights).mean(),
        }
    }
}

fn bools(values: &[bool], device: &Device) -> Tensor<1, Bool> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
}
