//! The denoiser at the size of LD4LG's, 12 layers of width 768 on 32 latents of width 64.

use burn::module::Module;
use burn::tensor::Device;
use criterion::Criterion;
use latent_text::denoiser::DenoiserConfig;
use latent_text::training::Precision;

use crate::common::{FULL_PARAMETERS, LATENT_DIM, LATENTS, diffusion_stage};
use crate::denoiser::prediction;
use crate::finish;
use crate::train_step::TrainStep;

const BATCH: usize = 8;

pub fn forward(criterion: &mut Criterion) {
    let device = Device::default();
    let denoiser = DenoiserConfig::default().init(&device);
    assert_eq!(denoiser.num_params(), FULL_PARAMETERS);
    let predict = prediction(&denoiser, BATCH, &device);
    let mut group = criterion.benchmark_group("full_size");
    group.sample_size(10);
    group.bench_function("denoiser_forward", |bencher| {
        bencher.iter(|| finish(&device, predict()));
    });
    group.finish();
}

/// Without estimates, and with one for half of the batch.
pub fn train_step(criterion: &mut Criterion) {
    let device = Device::default();
    let mut group = criterion.benchmark_group("full_size");
    group.sample_size(10);
    for (name, share) in [("train_step_without_estimates", 0.0), ("train_step", 0.5)] {
        let stage = diffusion_stage([BATCH, LATENTS, LATENT_DIM], share, &device).expect("a stage");
        let mut training = TrainStep::new(&DenoiserConfig::default(), stage, Precision::F32);
        group.bench_function(name, |bencher| bencher.iter(|| finish(&device, training.take())));
    }
    group.finish();
}
