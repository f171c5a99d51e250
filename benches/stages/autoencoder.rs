//! From token ids to latents, and from latents to what the language model's decoder looks at.

use burn::tensor::{Device, Int, Tensor};
use criterion::{BenchmarkId, Criterion};
use latent_text::Latents;

use crate::common::{
    LATENT_DIM, LATENTS, TOKENS, autoencoder, noise, shipped_bart, shipped_perceiver,
};
use crate::{BATCHES, finish};

pub fn encode(criterion: &mut Criterion) {
    let device = Device::default();
    let autoencoder = autoencoder(shipped_bart(), shipped_perceiver(), &device).expect("parts fit");
    let mut group = criterion.benchmark_group("autoencoder_encode");
    for batch in BATCHES {
        let ids = Tensor::<1, Int>::arange(0..(batch * TOKENS) as i64, &device);
        let ids = ids.reshape([batch, TOKENS]);
        let mask = ids.clone().greater_equal_elem(0);
        group.bench_function(BenchmarkId::from_parameter(batch), |bencher| {
            bencher.iter(|| finish(&device, autoencoder.encode_tokens(ids.clone(), mask.clone())));
        });
    }
    group.finish();
}

pub fn decode(criterion: &mut Criterion) {
    let device = Device::default();
    let autoencoder = autoencoder(shipped_bart(), shipped_perceiver(), &device).expect("parts fit");
    let mut group = criterion.benchmark_group("autoencoder_decode");
    for batch in BATCHES {
        let latents = Latents::from(noise([batch, LATENTS, LATENT_DIM], &device));
        group.bench_function(BenchmarkId::from_parameter(batch), |bencher| {
            bencher.iter(|| finish(&device, autoencoder.decoder_states(latents.clone())));
        });
    }
    group.finish();
}
