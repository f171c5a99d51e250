//! One look of the denoiser at noisy latents and their estimates.

use anyhow::Result;
use burn::tensor::Tensor;
use latent_text::denoiser::{Conditions, Denoiser, SelfCondition};
use latent_text::nn::cast_module;

use crate::Bench;
use crate::arguments::NumberFormat;
use crate::common::noise;
use crate::timing::{Runs, time};

pub fn run(bench: &mut Bench, format: NumberFormat) -> Result<()> {
    let denoiser = bench.denoiser(format);
    for batch in bench.shapes.batches.clone() {
        let predict = bench.prediction(&denoiser, bench.shapes.of_batch(batch), format);
        let timing = time(&bench.device, Runs::SHORT, predict)?;
        bench.report.row(format!("denoiser forward {format} b{batch}"), &timing, Some(batch));
    }
    Ok(())
}

impl Bench {
    pub fn denoiser(&self, format: NumberFormat) -> Denoiser {
        cast_module(self.shapes.denoiser.init(&self.device), format.dtype())
    }

    /// What predicts for noisy latents `[batch, latents, latent_dim]`.
    pub fn prediction<'a>(
        &self,
        denoiser: &'a Denoiser,
        shape: [usize; 3],
        format: NumberFormat,
    ) -> impl Fn() -> Result<Tensor<3>> + 'a {
        let z = noise(shape, &self.device).cast(format.dtype());
        let estimate = z.clone() * 0.5;
        let alpha = Tensor::full([shape[0]], 0.5, &self.device);
        move || {
            let self_cond = Some(SelfCondition { estimate: estimate.clone(), present: None });
            let conditions = Conditions { self_cond, ..Conditions::default() };
            Ok(denoiser.forward(z.clone(), alpha.clone(), conditions))
        }
    }
}
