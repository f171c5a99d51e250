//! One look of the denoiser at noisy latents and their estimates.

use anyhow::Result;
use burn::tensor::Tensor;
use latent_text::denoiser::{Conditions, Denoiser, SelfCondition};
use latent_text::nn::cast_module;
use latent_text_kernels::Graph;

use crate::Bench;
use crate::arguments::NumberFormat;
use crate::common::noise;
use crate::timing::{Runs, time};

pub fn run(bench: &mut Bench, format: NumberFormat) -> Result<()> {
    let denoiser = bench.denoiser(format);
    for batch in bench.shapes.batches.clone() {
        let predict = bench.prediction(&denoiser, bench.shapes.of_batch(batch), format);
        let timing = time(&bench.device, Runs::SHORT, predict)?;
        let name = format!("denoiser forward {format} b{batch}");
        bench.report.row(&name, &timing, Some(batch));
        let mut graph = Graph::new(&bench.device, predict_by(&denoiser));
        let inputs = bench.inputs(bench.shapes.of_batch(batch), format);
        let timing = time(&bench.device, Runs::SHORT, || Ok(graph.run(inputs.clone())))?;
        let graph = if graph.is_recorded() { "as a graph" } else { "as a graph, NOT RECORDED" };
        bench.report.row(format!("{name} {graph}"), &timing, Some(batch));
    }
    Ok(())
}

/// Noisy latents, the share of the signal in their variance, and an estimate of the clean ones.
pub type Inputs = (Tensor<3>, Tensor<1>, Option<Tensor<3>>);

/// A denoiser's prediction for its inputs.
pub fn predict_by(denoiser: &Denoiser) -> impl Fn(Inputs) -> Tensor<3> {
    |(z, alpha, estimate)| {
        let self_cond = estimate.map(|estimate| SelfCondition { estimate, present: None });
        denoiser.forward(z, alpha, Conditions { self_cond, ..Conditions::default() })
    }
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
        let inputs = self.inputs(shape, format);
        let predict = predict_by(denoiser);
        move || Ok(predict(inputs.clone()))
    }

    /// Those of a prediction, `[batch, latents, latent_dim]`.
    fn inputs(&self, shape: [usize; 3], format: NumberFormat) -> Inputs {
        let z = noise(shape, &self.device).cast(format.dtype());
        let estimate = z.clone() * 0.5;
        (z, Tensor::full([shape[0]], 0.5, &self.device), Some(estimate))
    }
}
