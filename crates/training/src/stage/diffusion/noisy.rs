use burn::tensor::{Bool, Device, Distribution, Int, Tensor, TensorData};
use latent_text_autoencoder::Latents;
use latent_text_denoiser::{NetworkTime, Source};
use latent_text_diffusion::{LossWeight, NoiseLevel, add_noise};

use super::{DiffusionBatch, DiffusionSet, DiffusionStage, bools};

/// A noised batch on the device.
pub(super) struct Noisy {
    pub(super) z: Tensor<3>,
    pub(super) time: NetworkTime,
    /// Which latents are real; none if all.
    pub(super) mask: Option<Tensor<2, Bool>>,
    pub(super) classes: Option<Tensor<1, Int>>,
    pub(super) source: Option<NoisySource>,
    pub(super) target: Tensor<3>,
    /// What each sample's loss counts; none if all count the same.
    pub(super) weights: Option<Tensor<1>>,
}

/// The sources of a batch, and which samples keep theirs.
#[derive(Clone)]
pub(super) struct NoisySource {
    states: Tensor<3>,
    mask: Tensor<2, Bool>,
    present: Option<Vec<bool>>,
}

impl NoisySource {
    pub(super) fn on_plain(self) -> Source {
        let device = self.states.device();
        let present = self.present.map(|present| bools(&present, &device));
        Source { states: self.states, mask: Some(self.mask), present }
    }

    pub(super) fn on_autodiff(self, device: &Device) -> Source {
        let present = self.present.map(|present| bools(&present, device));
        Source { states: self.states.autodiff(), mask: Some(self.mask.autodiff()), present }
    }

    pub(super) fn first(self, rows: usize) -> Self {
        Self {
            states: self.states.slice(0..rows),
            mask: self.mask.slice(0..rows),
            present: self.present.map(|present| present[..rows].to_vec()),
        }
    }
}

impl DiffusionStage {
    pub(super) fn noisy(&self, set: &DiffusionSet, batch: &DiffusionBatch) -> Noisy {
        let rows = batch.indices.len();
        let ints = |values: &[i32]| {
            Tensor::<1, Int>::from_data(TensorData::new(values.to_vec(), [rows]), &self.device)
        };
        let alpha = self.schedule.alphas(&batch.times, &self.device);
        let Latents { values: x0, mask } = set.latents.select(&batch.indices);
        let eps = x0.random_like(Distribution::Normal(0.0, 1.0));
        Noisy {
            z: add_noise(x0.clone(), eps.clone(), alpha.clone()),
            target: self.prediction.target(x0, eps, alpha.clone()),
            classes: batch.classes.as_ref().map(|classes| ints(classes)),
            source: set.sources.as_ref().map(|sources| {
                let (states, mask) = sources.read(&batch.indices);
                NoisySource { states, mask, present: batch.with_source.clone() }
            }),
            weights: self.weights(&batch.times),
            time: NetworkTime { alpha, step: batch.steps.as_ref().map(|steps| ints(steps)) },
            mask,
        }
    }

    /// The weights of the samples' noise levels; none if they are all 1.
    fn weights(&self, times: &[f64]) -> Option<Tensor<1>> {
        if self.objective.weight == LossWeight::Uniform {
            return None;
        }
        let levels: Vec<NoiseLevel> = times.iter().map(|&time| self.schedule.level(time)).collect();
        Some(self.objective.weight.weights(&levels, self.prediction, &self.device))
    }
}
