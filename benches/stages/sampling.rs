//! One step of a sampler with its noise, but without the network.

use burn::tensor::Device;
use criterion::{BenchmarkId, Criterion};
use latent_text::diffusion::{
    NoiseScheduleConfig, Prediction, SampleNoise, SamplerKind, SamplerPlan,
};

use crate::common::{LATENT_DIM, LATENTS, noise};
use crate::{BATCHES, finish};

const STEPS: usize = 250;

pub fn step(criterion: &mut Criterion) {
    let device = Device::default();
    let schedule = NoiseScheduleConfig::default().init().expect("the default schedule is valid");
    let mut group = criterion.benchmark_group("sampling_step");
    for sampler in [SamplerKind::Ddpm, SamplerKind::Ddim, SamplerKind::Dpmpp2m] {
        let plan = SamplerPlan::new(&schedule, sampler, Prediction::V, STEPS)
            .expect("there is at least one step");
        for batch in BATCHES {
            let output = noise([batch, LATENTS, LATENT_DIM], &device);
            let mut source = SampleNoise::new(1, 0..batch as u64);
            group.bench_function(BenchmarkId::new(sampler.name(), batch), |bencher| {
                bencher.iter(|| {
                    let state = plan.start(output.clone(), &mut source);
                    let state = plan.step(state, output.clone(), &mut source);
                    finish(&device, state.expect("shapes agree"));
                });
            });
        }
    }
    group.finish();
}
