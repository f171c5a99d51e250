//! One look of the denoiser at noisy latents and their estimates.

use anyhow::Result;
use burn::tensor::Tensor;
use latent_text::denoiser::{Conditions, Denoiser, SelfCondition};
use latent_text::nn::cast_module;
use latent_text_kernels::Graph;

use crate::Bench;
use crate::arguments::NumberFormat;
use crate::common::noise;
use crate::timing::{Runs, Timing, time};

pub fn run(bench: &mut Bench, format: NumberFormat) -> Result<()> {
    let denoiser = bench.denoiser(format);
    for batch in bench.shapes.batches.clone() {
        let name = format!("denoiser forward {format} b{batch}");
        let inputs = bench.inputs(bench.shapes.of_batch(batch), format);
        bench.forward(&name, &denoiser, &inputs, Runs::SHORT)?;
    }
    Ok(())
}

/// How long predictions take.
pub struct Forward {
    pub calls: Timing,
    /// As a graph, where the device records one.
    pub graph: Option<Timing>,
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

    /// Times predictions, as calls and as a graph, and reports both.
    pub fn forward(
        &mut self,
        name: &str,
        denoiser: &Denoiser,
        inputs: &Inputs,
        runs: Runs,
    ) -> Result<Forward> {
        let batch = Some(inputs.0.dims()[0]);
        let predict = predict_by(denoiser);
        let calls = time(&self.device, runs, || Ok(predict(inputs.clone())))?;
        self.report.row(name, &calls, batch);
        let mut graph = Graph::new(&self.device, predict);
        let timing = time(&self.device, runs, || Ok(graph.run(inputs.clone())))?;
        let is_recorded = graph.is_recorded();
        let way = if is_recorded { "as a graph" } else { "as a graph, NOT RECORDED" };
        self.report.row(format!("{name} {way}"), &timing, batch);
        Ok(Forward { calls, graph: is_recorded.then_some(timing) })
    }

    /// Those of a prediction, `[batch, latents, latent_dim]`.
    pub fn inputs(&self, shape: [usize; 3], format: NumberFormat) -> Inputs {
        let z = noise(shape, &self.device).cast(format.dtype());
        let estimate = z.clone() * 0.5;
        (z, Tensor::full([shape[0]], 0.5, &self.device), Some(estimate))
    }
}
