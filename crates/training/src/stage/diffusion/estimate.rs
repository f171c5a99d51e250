use burn::tensor::{Device, Tensor};
use latent_text_denoiser::{Conditions, DenoisingNetwork, SelfCondition};
use latent_text_diffusion::rescale_norm;

use super::noisy::Noisy;
use super::{DiffusionStage, bools};

/// Estimates of the clean latents for the first rows of a batch; zeros in the others.
pub(super) struct Estimate {
    x0: Tensor<3>,
    present: Vec<bool>,
}

impl Estimate {
    pub(super) fn on_plain(self) -> SelfCondition {
        let device = self.x0.device();
        SelfCondition { present: Some(bools(&self.present, &device)), estimate: self.x0 }
    }

    pub(super) fn on_autodiff(self, device: &Device) -> SelfCondition {
        SelfCondition { estimate: self.x0.autodiff(), present: Some(bools(&self.present, device)) }
    }
}

impl DiffusionStage {
    /// The network's own estimate for the share of rows that get one, without a graph.
    pub(super) fn estimate(&self, model: &DenoisingNetwork, noisy: &Noisy) -> Option<Estimate> {
        let [rows, latents, dim] = noisy.z.dims();
        let given = (self.objective.self_conditioning * rows as f64).round() as usize;
        if given == 0 {
            return None;
        }
        let z = noisy.z.clone().slice(0..given);
        let time = noisy.time.clone().samples(0..given);
        let alpha = time.alpha.clone();
        let mask = noisy.mask.clone().map(|mask| mask.slice(0..given));
        let classes = noisy.classes.clone().map(|classes| classes.slice(0..given));
        let source = noisy.source.clone().map(|source| source.first(given).on_plain());
        let source = source.map(|source| model.read_source(source));
        let conditions = Conditions { classes, source, mask, self_cond: None };
        let output = model.forward(z.clone(), time, conditions);
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
