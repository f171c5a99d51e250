//! Latents from noise: ancestral sampling (DDPM) with self-conditioning.

use std::ops::ControlFlow;

use anyhow::Result;
use burn::tensor::Tensor;
use latent_text::diffusion::{
    DenoiserInput, NoiseScheduleConfig, Prediction, SampleNoise, SamplerKind, SamplerPlan,
    StepReport, sample,
};
use latent_text_kernels::Graph;

use crate::Bench;
use crate::arguments::NumberFormat;
use crate::forward::{Inputs, predict_by};
use crate::timing::{Runs, Timing, time};

pub fn run(bench: &mut Bench, format: NumberFormat) -> Result<()> {
    let (texts, steps) = (bench.shapes.texts, bench.shapes.steps);
    let denoiser = bench.denoiser(format);
    let name = format!("sampling {steps} steps {format} b{texts}");
    let timing = bench.sampling(predict_by(&denoiser))?;
    bench.report.row(&name, &timing, Some(texts));
    let mut graph = Graph::new(&bench.device, predict_by(&denoiser));
    let timing = bench.sampling(|inputs| graph.run(inputs))?;
    let graph = if graph.is_recorded() { "as a graph" } else { "as a graph, NOT RECORDED" };
    bench.report.row(format!("{name} {graph}"), &timing, Some(texts));
    bench.parts.sampling = Some(timing.median);
    Ok(())
}

impl Bench {
    /// The time of a batch of texts with these predictions.
    fn sampling(&self, mut predict: impl FnMut(Inputs) -> Tensor<3>) -> Result<Timing> {
        let (texts, steps) = (self.shapes.texts, self.shapes.steps);
        let schedule = NoiseScheduleConfig::default().init()?;
        let plan = SamplerPlan::new(&schedule, SamplerKind::Ddpm, Prediction::V, steps)?;
        let shape = self.shapes.of_batch(texts);
        let mut noise = SampleNoise::new(0, 0..texts as u64);
        time(&self.device, Runs::LONG, || {
            let predict =
                |DenoiserInput { z, alpha, self_cond, .. }| predict((z, alpha, self_cond));
            let go_on = |_: StepReport<'_>| ControlFlow::Continue(());
            Ok(sample(&plan, shape, &mut noise, &self.device, predict, go_on)?)
        })
    }
}
