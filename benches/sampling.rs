//! What generating a text costs, at the size of the shipped model with random weights.
//!
//! ```sh
//! cargo bench --bench sampling
//! ```
//!
//! `BURN_DEVICE` chooses another device than the CPU, if it is compiled in.

#![recursion_limit = "256"]

use std::hint::black_box;

use burn::tensor::{Device, Tensor};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use latent_text::denoiser::{Conditions, Denoiser, DenoiserConfig, SelfCondition};
use latent_text::diffusion::{
    NoiseScheduleConfig, Prediction, SampleNoise, SamplerKind, SamplerPlan,
};
use latent_text::language_model::{Bart, BartConfig, GenerationConfig};

const BATCHES: [usize; 2] = [1, 8];
const LATENTS: usize = 32;
const LATENT_DIM: usize = 64;
const STEPS: usize = 250;
/// Tokens of a usual text of the E2E data.
const TOKENS: usize = 32;

fn denoiser(device: &Device) -> Denoiser {
    let config = DenoiserConfig {
        latent_dim: LATENT_DIM,
        max_latents: LATENTS,
        dim: 256,
        depth: 6,
        ff_mult: 2,
        time_dim_mult: 1,
        ..DenoiserConfig::default()
    };
    config.init(device)
}

fn language_model(device: &Device) -> Bart {
    let config = BartConfig {
        vocab_size: 4096,
        max_position_embeddings: 64,
        d_model: 256,
        encoder_layers: 3,
        encoder_attention_heads: 4,
        encoder_ffn_dim: 512,
        decoder_layers: 3,
        decoder_attention_heads: 4,
        decoder_ffn_dim: 512,
        ..BartConfig::default()
    };
    config.init(device)
}

fn noise(batch: usize, device: &Device) -> Tensor<3> {
    SampleNoise::new(0, 0..batch as u64).normal([batch, LATENTS, LATENT_DIM], device)
}

/// A kernel that was only queued has not been timed.
fn finish<const D: usize>(tensor: Tensor<D>) {
    black_box(tensor.into_data());
}

fn denoiser_forward(criterion: &mut Criterion) {
    let device = Device::default();
    let denoiser = denoiser(&device);
    let mut group = criterion.benchmark_group("denoiser_forward");
    for batch in BATCHES {
        let z = noise(batch, &device);
        let alpha = Tensor::full([batch], 0.5, &device);
        group.bench_function(BenchmarkId::from_parameter(batch), |bencher| {
            bencher.iter(|| {
                let self_cond = Some(SelfCondition { estimate: z.clone(), present: None });
                let conditions = Conditions { self_cond, ..Conditions::default() };
                finish(denoiser.forward(z.clone(), alpha.clone(), conditions));
            });
        });
    }
    group.finish();
}

/// One step with its noise, but without the network; `samplers` has all samplers at a larger batch.
fn sampling_step(criterion: &mut Criterion) {
    let device = Device::default();
    let schedule = NoiseScheduleConfig::default().init().expect("the default schedule is valid");
    let mut group = criterion.benchmark_group("sampling_step");
    for sampler in [SamplerKind::Ddpm, SamplerKind::Ddim, SamplerKind::Dpmpp2m] {
        let plan = SamplerPlan::new(&schedule, sampler, Prediction::V, STEPS)
            .expect("there is at least one step");
        for batch in BATCHES {
            let output = noise(batch, &device);
            let mut source = SampleNoise::new(1, 0..batch as u64);
            group.bench_function(BenchmarkId::new(sampler.name(), batch), |bencher| {
                bencher.iter(|| {
                    let state = plan.start(output.clone(), &mut source);
                    finish(
                        plan.step(state, output.clone(), &mut source)
                            .expect("shapes agree")
                            .into_z(),
                    );
                });
            });
        }
    }
    group.finish();
}

fn greedy_decoding(criterion: &mut Criterion) {
    let device = Device::default();
    let model = language_model(&device);
    let config =
        GenerationConfig { max_length: TOKENS, min_length: TOKENS, ..GenerationConfig::default() };
    let mut group = criterion.benchmark_group("greedy_decoding");
    for batch in BATCHES {
        let states = SampleNoise::new(2, 0..batch as u64).normal([batch, LATENTS, 256], &device);
        let seeds = vec![0; batch];
        group.bench_function(BenchmarkId::from_parameter(batch), |bencher| {
            bencher.iter(|| {
                let ids = model.generate(states.clone(), None, &config, &seeds);
                black_box(ids.expect("the settings are valid"))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, denoiser_forward, sampling_step, greedy_decoding);
criterion_main!(benches);
