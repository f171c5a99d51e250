//! What one step of each sampler costs without the network.
//!
//! ```sh
//! cargo bench --bench samplers
//! ```
//!
//! `BURN_DEVICE` chooses another device than the CPU, if it is compiled in. On Linux most of a step
//! without noise is fresh memory from the kernel; `MALLOC_MMAP_THRESHOLD_=1073741824
//! MALLOC_TRIM_THRESHOLD_=4294967296` in the environment shows the arithmetic alone.

#![recursion_limit = "256"]

use std::hint::black_box;
use std::time::Duration;

use burn::tensor::{Device, Tensor};
use criterion::{BenchmarkId, Criterion, criterion_group};
use latent_text::diffusion::schedule::RectifiedFlow;
use latent_text::diffusion::{
    NoiseSchedule, NoiseScheduleConfig, Prediction, SampleNoise, SamplerKind, SamplerPlan,
    SamplerState, ScheduleKind,
};

const SHAPE: [usize; 3] = [256, 32, 64];
const STEPS: usize = 250;
/// Steps that are taken before the one that is timed: multistep methods then have all the estimates
/// that they look back to, and a late step must not cost more.
const STEPS_BEFORE: [usize; 2] = [3, 200];

fn schedule(kind: SamplerKind) -> NoiseSchedule {
    let kind = match kind {
        SamplerKind::FlowHeun => ScheduleKind::RectifiedFlow(RectifiedFlow::default()),
        _ => ScheduleKind::default(),
    };
    let config = NoiseScheduleConfig { kind, ..NoiseScheduleConfig::default() };
    config.init().expect("the default schedules are valid")
}

/// All network calls of a step, answered with the same tensor.
fn step(
    plan: &SamplerPlan,
    mut state: SamplerState,
    output: &Tensor<3>,
    source: &mut SampleNoise,
) -> SamplerState {
    let before = state.step();
    while state.step() == before {
        state = plan.step(state, output.clone(), source).expect("shapes agree");
    }
    state
}

fn sampler_step(criterion: &mut Criterion) {
    let device = Device::default();
    let samples = 0..SHAPE[0] as u64;
    let mut group = criterion.benchmark_group("sampler_step");
    group.sample_size(30).measurement_time(Duration::from_secs(2));
    group.warm_up_time(Duration::from_millis(500));

    // How much of a stochastic sampler's step is drawing its noise.
    let mut source = SampleNoise::new(1, samples.clone());
    group.bench_function("noise_alone", |bencher| {
        bencher.iter(|| {
            let noise = source.normal(SHAPE, &device);
            device.sync().expect("the device is there");
            black_box(noise)
        });
    });
    for &kind in SamplerKind::ALL {
        let plan = SamplerPlan::new(&schedule(kind), kind, Prediction::V, STEPS)
            .expect("every sampler has such a plan");
        let output = SampleNoise::new(2, samples.clone()).normal(SHAPE, &device);
        for steps_before in STEPS_BEFORE {
            let mut source = SampleNoise::new(3, samples.clone());
            let mut state = plan.start(source.normal(SHAPE, &device), &mut source);
            for _ in 0..steps_before {
                state = step(&plan, state, &output, &mut source);
            }
            let id = BenchmarkId::new(kind.name(), format!("step_{}", steps_before + 1));
            group.bench_function(id, |bencher| {
                bencher.iter(|| {
                    let state = step(&plan, state.clone(), &output, &mut source);
                    // A kernel that was only queued has not been timed.
                    device.sync().expect("the device is there");
                    black_box(state)
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, sampler_step);

fn main() {
    latent_text_workspace::keep_memory();
    benches();
    Criterion::default().configure_from_args().final_summary();
}
