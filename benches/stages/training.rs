//! One step of training the denoiser: forward, backward, AdamW and running average, with an estimate
//! for half of the batch.

use burn::tensor::Device;
use criterion::{BenchmarkId, Criterion};
use latent_text::training::Precision;

use crate::common::{LATENT_DIM, LATENTS, diffusion_stage, shipped_denoiser};
use crate::finish;
use crate::train_step::TrainStep;

const BATCH: usize = 16;

pub fn step(criterion: &mut Criterion) {
    let device = Device::default();
    let stage = diffusion_stage([BATCH, LATENTS, LATENT_DIM], 0.5, &device).expect("a stage");
    let mut training = TrainStep::new(&shipped_denoiser(), stage, Precision::F32).with_ema();
    let mut group = criterion.benchmark_group("train_step");
    group.sample_size(20);
    group.bench_function(BenchmarkId::from_parameter(BATCH), |bencher| {
        bencher.iter(|| finish(&device, training.take()));
    });
    group.finish();
}
