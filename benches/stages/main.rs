//! What each stage costs at the size of the shipped models, with random weights, and the denoiser at
//! the size of LD4LG's.
//!
//! ```sh
//! cargo bench --bench stages
//! cargo bench --bench stages -- denoiser_forward
//! ```
//!
//! `BURN_DEVICE` chooses another device than the CPU, if it is compiled in. `samplers` has all samplers
//! at a larger batch, and the example `bench-gpu` everything at full size.

#![recursion_limit = "256"]

mod autoencoder;
#[path = "../common/mod.rs"]
mod common;
mod decoding;
mod denoiser;
mod end_to_end;
mod full_size;
mod sampling;
#[path = "../gpu/train_step.rs"]
mod train_step;
mod training;

use std::hint::black_box;

use burn::tensor::Device;
use criterion::{Criterion, criterion_group};

const BATCHES: [usize; 2] = [1, 8];

/// A kernel that was only queued has not been timed.
fn finish<R>(device: &Device, result: R) {
    device.sync().expect("the device is there");
    black_box(result);
}

criterion_group!(
    benches,
    denoiser::forward,
    training::step,
    sampling::step,
    autoencoder::encode,
    autoencoder::decode,
    decoding::greedy,
    decoding::beam,
    end_to_end::generate,
    full_size::forward,
    full_size::train_step,
);

fn main() {
    latent_text_workspace::keep_memory();
    benches();
    Criterion::default().configure_from_args().final_summary();
}
