use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Bool, Device, Distribution, Int, Tensor, TensorData};
use latent_text_conditioning::ClassLabels;
use latent_text_denoiser::{Denoiser, SelfCondition};
use latent_text_diffusion::{LossKind, NoiseSchedule, Prediction, add_noise, loss, rescale_norm};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::mean;
use crate::TrainingError;
use crate::latents::LatentSet;
use crate::order::{BatchOrder, EpochPermutation, generator};
use crate::trainer::{Stage, Validation};

/// What the denoiser is trained towards (LD4LG, sections 3.2 and 3.3).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiffusionObjective {
    /// Distance between output and target; default L2.
    pub loss: LossKind,
    /// Share of each batch that is given an estimate of the clean latents; default 0.5.
    ///
    /// The rows of a batch are in random order, so the share is met exactly, sample by sample, and
    /// the estimating pass runs on that share alone.
    pub self_conditioning: f64,
    /// Probability with which a sample's class is replaced by the null class; default 0.1.
    pub class_dropout: f64,
}

impl Default for DiffusionObjective {
    fn default() -> Self {
        Self { loss: LossKind::L2, self_conditioning: 0.5, class_dropout: 0.1 }
    }
}

impl DiffusionObjective {
    /// Checks that both settings are shares.
    ///
    /// # Errors
    /// [`TrainingError::Setting`].
    pub fn check(&self) -> Result<(), TrainingError> {
        for (name, value) in
            [("self_conditioning", self.self_conditioning), ("class_dropout", self.class_dropout)]
        {
            if !(0.0..=1.0).contains(&value) {
                return Err(TrainingError::setting(
                    format!("diffusion.objective.{name}"),
                    format!("is {value}, must lie in 0..=1"),
                ));
            }
        }
        Ok(())
    }
}

/// Turns sampled latents into texts for the log: given a denoiser and a number of samples.
pub type SampleDecoder =
    dyn Fn(&Denoiser, usize) -> Result<Vec<String>, TrainingError> + Send + Sync;

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
    /// Training latents.
    pub train: Arc<LatentSet>,
    /// Validation latents.
    pub validation: Arc<LatentSet>,
    /// Samples in a batch.
    pub batch_size: usize,
    /// Seed of order, times and class dropout.
    pub seed: u64,
    /// The device, without autodiff.
    pub device: Device,
    /// Decodes samples for the log.
    pub decode_samples: Box<SampleDecoder>,
}

/// Which latents, at which noise level, under which class.
pub struct DiffusionBatch {
    indices: Vec<i32>,
    times: Vec<f64>,
    classes: Option<Vec<i32>>,
}

/// Validation never reads more batches than this.
const VALIDATION_BATCHES: u64 = 4;

impl Stage for DiffusionStage {
    type Model = Denoiser;
    type Batch = DiffusionBatch;

    fn name(&self) -> &'static str {
        "diffusion"
    }

    fn batches(&self) -> Box<dyn FnMut(u64) -> DiffusionBatch + Send> {
        self.batch_maker(&self.train, self.objective.class_dropout)
    }

    fn loss(&self, model: &Denoiser, batch: DiffusionBatch) -> Tensor<1> {
        let noisy = self.noisy(&self.train, &batch);
        let estimate = self.estimate(&model.valid(), &noisy);
        let device = self.device.clone().autodiff();
        let output = model.forward(
            noisy.z.autodiff(),
            noisy.alpha.autodiff(),
            estimate.map(|estimate| estimate.on_autodiff(&device)),
            noisy.classes.map(|classes| classes.autodiff()),
        );
        loss(self.objective.loss, output, noisy.target.autodiff())
    }

    fn validate(&self, model: &Denoiser, samples: usize) -> Result<Validation, TrainingError> {
        let mut make = self.batch_maker(&self.validation, 0.0);
        let mut losses = Vec::new();
        for index in 0..VALIDATION_BATCHES {
            let noisy = self.noisy(&self.validation, &make(index));
            let estimate = self.estimate(model, &noisy);
            let output = model.forward(
                noisy.z,
                noisy.alpha,
                estimate.map(Estimate::on_plain),
                noisy.classes,
            );
            losses.push(loss(self.objective.loss, output, noisy.target));
        }
        let texts = if samples > 0 { (self.decode_samples)(model, samples)? } else { Vec::new() };
        Ok(Validation { values: vec![("loss".to_string(), mean(losses)?)], texts })
    }
}

/// A noised batch on the device.
struct Noisy {
    z: Tensor<3>,
    alpha: Tensor<1>,
    classes: Option<Tensor<1, Int>>,
    target: Tensor<3>,
}

/// Estimates of the clean latents for the first rows of a batch; zeros in the others.
struct Estimate {
    x0: Tensor<3>,
    present: Vec<bool>,
}

impl Estimate {
    fn on_plain(self) -> SelfCondition {
        let device = self.x0.device();
        SelfCondition { present: Some(bools(&self.present, &device)), estimate: self.x0 }
    }

    fn on_autodiff(self, device: &Device) -> SelfCondition {
        SelfCondition { estimate: self.x0.autodiff(), present: Some(bools(&self.present, device)) }
    }
}

fn bools(values: &[bool], device: &Device) -> Tensor<1, Bool> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
}

impl DiffusionStage {
    fn batch_maker(
        &self,
        latents: &LatentSet,
        class_dropout: f64,
    ) -> Box<dyn FnMut(u64) -> DiffusionBatch + Send> {
        let order = BatchOrder::new(latents.len(), self.batch_size, self.seed);
        let classes =
            self.labels.as_ref().map(|labels| (labels.clone(), latents.classes().to_vec()));
        let seed = self.seed;
        let mut permutation = EpochPermutation::default();
        Box::new(move |batch| {
            let indices = order.indices(batch, &mut permutation).to_vec();
            // Apart from the order of the samples and the noise on the device.
            let mut rng = generator(seed ^ 0x7469_6d65, batch);
            let times = indices.iter().map(|_| rng.random::<f64>()).collect();
            let classes = classes.as_ref().map(|(labels, classes)| {
                let chosen: Vec<usize> = indices.iter().map(|&index| classes[index]).collect();
                let kept = labels.drop_per_sample(&chosen, class_dropout, &mut rng);
                kept.into_iter().map(|class| class as i32).collect()
            });
            DiffusionBatch {
                indices: indices.into_iter().map(|index| index as i32).collect(),
                times,
                classes,
            }
        })
    }

    fn noisy(&self, latents: &LatentSet, batch: &DiffusionBatch) -> Noisy {
        let rows = batch.indices.len();
        let ints = |values: &[i32]| {
            Tensor::<1, Int>::from_data(TensorData::new(values.to_vec(), [rows]), &self.device)
        };
        let alphas: Vec<f32> =
            batch.times.iter().map(|&time| self.schedule.alpha(time) as f32).collect();
        let alpha = Tensor::from_floats(alphas.as_slice(), &self.device);
        let x0 = latents.select(ints(&batch.indices));
        let eps = x0.random_like(Distribution::Normal(0.0, 1.0));
        Noisy {
            z: add_noise(x0.clone(), eps.clone(), alpha.clone()),
            target: self.prediction.target(x0, eps, alpha.clone()),
            classes: batch.classes.as_ref().map(|classes| ints(classes)),
            alpha,
        }
    }

    /// The network's own estimate for the share of rows that get one, without a graph.
    fn estimate(&self, model: &Denoiser, noisy: &Noisy) -> Option<Estimate> {
        let [rows, latents, dim] = noisy.z.dims();
        let given = (self.objective.self_conditioning * rows as f64).round() as usize;
        if given == 0 {
            return None;
        }
        let z = noisy.z.clone().slice(0..given);
        let alpha = noisy.alpha.clone().slice(0..given);
        let classes = noisy.classes.clone().map(|classes| classes.slice(0..given));
        let output = model.forward(z.clone(), alpha.clone(), None, classes);
        let mut x0 = self.prediction.to_x0(z, alpha, output);
        if self.rescale_estimate {
            x0 = rescale_norm(x0);
        }
        if given < rows {
            let rest = Tensor::zeros([rows - given, latents, dim], &self.device);
            x0 = Tensor::cat(vec![x0, rest], 0);
        }
        Some(Estimate { x0, present: (0..rows).map(|row| row < given).collect() })
    }
}
