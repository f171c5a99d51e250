//! Texts of the usual length from the states of an encoder.

use std::hint::black_box;

use burn::tensor::Device;
use criterion::{BenchmarkId, Criterion};
use latent_text::language_model::{BeamSearch, Decoding, GenerationConfig};

use crate::BATCHES;
use crate::common::{LATENTS, TOKENS, noise, shipped_bart};

pub fn greedy(criterion: &mut Criterion) {
    let config =
        GenerationConfig { max_length: TOKENS, min_length: TOKENS, ..GenerationConfig::default() };
    run(criterion, "greedy_decoding", &config);
}

/// With the settings of LD4LG.
pub fn beam(criterion: &mut Criterion) {
    let config = GenerationConfig {
        max_length: TOKENS,
        min_length: TOKENS,
        decoding: Decoding::Beam(BeamSearch::default()),
        repetition_penalty: 1.2,
        no_repeat_ngram_size: 3,
        ..GenerationConfig::default()
    };
    run(criterion, "beam_decoding", &config);
}

fn run(criterion: &mut Criterion, name: &str, config: &GenerationConfig) {
    let device = Device::default();
    let bart = shipped_bart();
    let model = bart.init(&device);
    let mut group = criterion.benchmark_group(name);
    group.sample_size(20);
    for batch in BATCHES {
        let states = noise([batch, LATENTS, bart.d_model], &device);
        let seeds = vec![0; batch];
        group.bench_function(BenchmarkId::from_parameter(batch), |bencher| {
            bencher.iter(|| {
                let texts = model.generate(states.clone(), None, config, &seeds);
                black_box(texts.expect("the settings are valid"))
            });
        });
    }
    group.finish();
}
