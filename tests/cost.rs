//! What a look and a training step of the denoiser, a sampler's step and a short decoding cost on the CPU,
//! counted and not timed: the tensors that are allocated, their bytes, and the most that is in use at once. A
//! copy too many shows here, on whatever machine.

#![recursion_limit = "256"]
#![cfg(feature = "flex")]

#[path = "../benches/common/mod.rs"]
mod common;
#[path = "../benches/gpu/train_step.rs"]
mod train_step;

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use burn::tensor::{Device, Tensor};
use common::{LATENT_DIM, LATENTS, diffusion_stage, noise, shipped_bart, shipped_denoiser};
use latent_text::denoiser::{Conditions, SelfCondition};
use latent_text::diffusion::{
    NoiseScheduleConfig, Prediction, SampleNoise, SamplerKind, SamplerPlan,
};
use latent_text::language_model::GenerationConfig;
use latent_text::training::Precision;
use rayon::ThreadPoolBuilder;
use train_step::TrainStep;

const BATCH: usize = 8;
/// Allocations of at least so many bytes count as tensors.
const TENSOR: usize = 32 << 10;
/// How far below its bound a cost may be before the bound is out of date.
const SLACK: f64 = 0.8;

#[global_allocator]
static COUNTING: Counting = Counting;

/// The system's allocator, which keeps count.
struct Counting;

static TENSORS: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);
static IN_USE: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);

impl Counting {
    fn taken(bytes: usize) {
        BYTES.fetch_add(bytes, Ordering::Relaxed);
        TENSORS.fetch_add(usize::from(bytes >= TENSOR), Ordering::Relaxed);
        let in_use = IN_USE.fetch_add(bytes as i64, Ordering::Relaxed) + bytes as i64;
        PEAK.fetch_max(in_use, Ordering::Relaxed);
    }

    fn returned(bytes: usize) {
        IN_USE.fetch_sub(bytes as i64, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator with the arguments as they are; counting them
// allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::taken(layout.size());
        // SAFETY: the caller keeps the contract, which is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::taken(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::taken(size);
        Self::returned(layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        Self::returned(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// What something allocates.
#[derive(Debug)]
struct Cost {
    tensors: usize,
    /// Of all allocations, in units of 1 MiB.
    mebibytes: f64,
    /// The most in use at once beyond what was in use before, in units of 1 MiB.
    peak_mebibytes: f64,
}

fn mebibytes(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

fn cost_of<R>(run: impl FnOnce() -> R) -> Cost {
    let before = IN_USE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    TENSORS.store(0, Ordering::Relaxed);
    BYTES.store(0, Ordering::Relaxed);
    let result = black_box(run());
    let cost = Cost {
        tensors: TENSORS.load(Ordering::Relaxed),
        mebibytes: mebibytes(BYTES.load(Ordering::Relaxed) as f64),
        peak_mebibytes: mebibytes((PEAK.load(Ordering::Relaxed) - before) as f64),
    };
    drop(result);
    cost
}

/// The least of several runs: a thread allocates what it works with in the first one that it takes part in.
fn least_cost_of<R>(mut run: impl FnMut() -> R) -> Cost {
    let costs = (0..4).map(|_| cost_of(&mut run));
    costs.min_by(|a, b| a.mebibytes.total_cmp(&b.mebibytes)).expect("several runs")
}

/// Checks a cost against what it may be at most.
#[track_caller]
fn check(what: &str, cost: &Cost, bound: &Cost) {
    println!("{what}: {cost:?}, at most {bound:?}");
    for (name, cost, bound) in [
        ("tensors", cost.tensors as f64, bound.tensors as f64),
        ("MiB allocated", cost.mebibytes, bound.mebibytes),
        ("MiB in use at once", cost.peak_mebibytes, bound.peak_mebibytes),
    ] {
        assert!(
            cost <= bound,
            "{what} costs {cost:.1} {name}, but at most {bound:.1} are allowed. Look for a copy or a \
             temporary that a change has brought; if it is worth its cost, raise the bound in \
             tests/cost.rs to about 1.08 times the new cost, and say why in the commit."
        );
        assert!(
            cost >= SLACK * bound,
            "{what} costs {cost:.1} {name} only, far less than the {bound:.1} that are allowed. Lower the \
             bound in tests/cost.rs to about 1.08 times the new cost, so that it stays."
        );
    }
}

/// All threads of the process are counted together. There are two of them on any machine: every core that
/// takes part in a matrix product arranges an operand for itself.
fn alone<R: Send>(run: impl FnOnce() -> R + Send) -> R {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let pool = ThreadPoolBuilder::new().num_threads(2).build().expect("two threads");
    pool.install(run)
}

#[test]
fn denoiser_forward() {
    alone(|| {
        let device = Device::flex();
        let denoiser = shipped_denoiser().init(&device);
        let z = noise([BATCH, LATENTS, LATENT_DIM], &device);
        let alpha = Tensor::full([BATCH], 0.5, &device);
        let look = || {
            let self_cond = Some(SelfCondition { estimate: z.clone(), present: None });
            let conditions = Conditions { self_cond, ..Conditions::default() };
            denoiser.forward(z.clone(), alpha.clone(), conditions)
        };
        // The first look also draws the parameters.
        look();
        let bound = Cost { tensors: 72, mebibytes: 31.2, peak_mebibytes: 2.71 };
        check("a forward pass", &cost_of(look), &bound);
    });
}

#[test]
fn train_step() {
    alone(|| {
        let device = Device::flex();
        let stage = diffusion_stage([BATCH, LATENTS, LATENT_DIM], 0.5, &device).expect("a stage");
        let mut training = TrainStep::new(&shipped_denoiser(), stage, Precision::F32).with_ema();
        // The first step also makes the optimiser's state.
        training.take();
        let bound = Cost { tensors: 510, mebibytes: 187.5, peak_mebibytes: 44.3 };
        check("a training step", &cost_of(|| training.take()), &bound);
    });
}

#[test]
fn sampler_step() {
    alone(|| {
        let device = Device::flex();
        let schedule = NoiseScheduleConfig::default().init().expect("the default schedule");
        let plan = SamplerPlan::new(&schedule, SamplerKind::Ddpm, Prediction::V, 50);
        let plan = plan.expect("a plan");
        let output = noise([BATCH, LATENTS, LATENT_DIM], &device);
        let mut source = SampleNoise::new(1, 0..BATCH as u64);
        let step = || {
            let start = plan.start(output.clone(), &mut source);
            plan.step(start, output.clone(), &mut source).expect("shapes agree")
        };
        let bound = Cost { tensors: 6, mebibytes: 0.41, peak_mebibytes: 0.34 };
        check("a sampler's first step", &least_cost_of(step), &bound);
    });
}

#[test]
fn greedy_decoding() {
    alone(|| {
        let device = Device::flex();
        let bart = shipped_bart();
        let model = bart.init(&device);
        let states = noise([BATCH, LATENTS, bart.d_model], &device);
        let config =
            GenerationConfig { max_length: 8, min_length: 8, ..GenerationConfig::default() };
        let decode = || model.generate(states.clone(), None, &config, &[0; BATCH]).expect("texts");
        let bound = Cost { tensors: 45, mebibytes: 13.5, peak_mebibytes: 4.75 };
        check("decoding 7 tokens", &least_cost_of(decode), &bound);
    });
}
