//! Latents from noise: ancestral sampling (DDPM) with self-conditioning.

use std::ops::ControlFlow;

use anyhow::Result;
use latent_text::denoiser::{Conditions, SelfCondition};
use latent_text::diffusion::{
    DenoiserInput, NoiseScheduleConfig, Prediction, SampleNoise, SamplerKind, SamplerPlan,
    StepReport, sample,
};

use crate::Bench;
use crate::arguments::NumberFormat;
use crate::timing::{Runs, time};

pub fn run(bench: &mut Bench, format: NumberFormat) -> Result<()> {
    let (texts, steps) = (bench.shapes.texts, bench.shapes.steps);
    let schedule = NoiseScheduleConfig::default().init()?;
    let plan = SamplerPlan::new(&schedule, SamplerKind::Ddpm, Prediction::V, steps)?;
    let denoiser = bench.denoiser(format);
    let predict = |input: DenoiserInput| {
        let DenoiserInput { z, alpha, self_cond, .. } = input;
        let self_cond = self_cond.map(|estimate| SelfCondition { estimate, present: None });
        denoiser.forward(z, alpha, Conditions { self_cond, ..Conditions::default() })
    };
    let shape = bench.shapes.of_batch(texts);
    let mut noise = SampleNoise::new(0, 0..texts as u64);
    let timing = time(&bench.device, Runs::LONG, || {
        let go_on = |_: StepReport<'_>| ControlFlow::Continue(());
        Ok(sample(&plan, shape, &mut noise, &bench.device, predict, go_on)?)
    })?;
    let name = format!("sampling {steps} steps {format} b{texts}");
    bench.report.row(name, &timing, Some(texts));
    bench.parts.sampling = Some(timing.median);
    Ok(())
}
