//! Training steps without and with the pass that makes estimates, and the running average.

use anyhow::{Context, Result, ensure};

use crate::Bench;
use crate::arguments::NumberFormat;
use crate::common::diffusion_stage;
use crate::memory;
use crate::timing::{Runs, time};
use crate::train_step::{OptimizerStep, TrainStep};

pub fn run(bench: &mut Bench, format: NumberFormat) -> Result<()> {
    for batch in bench.shapes.batches.clone() {
        let mut training = bench.training(batch, format)?;
        let work = format!("train step {format} b{batch}");
        let mut means = Vec::new();
        for (share, name) in [
            (0.0, "no self-cond pass"),
            (1.0, "with self-cond pass"),
            (0.5, "self-cond pass on half of each batch"),
        ] {
            training.set_self_conditioning(share);
            let timing = time(&bench.device, Runs::SHORT, || Ok(training.take()))?;
            bench.report.row(format!("{work} ({name})"), &timing, Some(batch));
            means.push(timing.median);
        }
        let mean = (means[0] + means[1]) / 2.0;
        bench.report.computed(format!("{work} (mean of the two: p=0.5)"), mean, Some(batch), "");
        check_loss(&mut training)?;
        let usage = memory::describe(&bench.device);
        bench.report.remark(format!("peak GPU memory after b{batch} training"), usage);
        drop(training);
        bench.device.memory_cleanup();
    }
    Ok(())
}

/// The optimiser alone. The running average is a part of its pass over the parameters, so its cost is
/// what that pass takes longer with it.
pub fn optimizer(bench: &mut Bench, format: NumberFormat) -> Result<()> {
    let mut medians = Vec::new();
    for (with_ema, name) in [(false, "optimizer step"), (true, "optimizer step with EMA")] {
        let (config, device) = (&bench.shapes.denoiser, &bench.device);
        let mut step = OptimizerStep::new(config, format.precision(), with_ema, device);
        let timing = time(device, Runs::SHORT, || Ok(step.take()))?;
        medians.push(timing.chained.unwrap_or(timing.median));
        bench.report.row(format!("{name} {format}"), &timing, None);
    }
    let difference = (medians[1] - medians[0]).max(0.0);
    bench.report.computed("EMA update", difference, None, "difference of the two, chained");
    Ok(())
}

/// Numbers that went astray are no training.
fn check_loss(training: &mut TrainStep) -> Result<()> {
    let (loss, norm) = training.take();
    for tensor in [loss, norm] {
        let value = tensor.try_into_vec_as::<f32>().context("cannot read the loss")?[0];
        ensure!(value.is_finite(), "the loss or its gradient has become {value}");
    }
    Ok(())
}

impl Bench {
    fn training(&self, batch: usize, format: NumberFormat) -> Result<TrainStep> {
        let stage = diffusion_stage(self.shapes.of_batch(batch), 0.0, &self.device)?;
        Ok(TrainStep::new(&self.shapes.denoiser, stage, format.precision()))
    }
}
