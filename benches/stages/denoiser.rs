//! One look of the denoiser at noisy latents.

use burn::tensor::{Device, Tensor};
use criterion::{BenchmarkId, Criterion};
use latent_text::denoiser::{Conditions, Denoiser, SelfCondition};

use crate::common::{LATENT_DIM, LATENTS, noise, shipped_denoiser};
use crate::{BATCHES, finish};

pub fn forward(criterion: &mut Criterion) {
    let device = Device::default();
    let denoiser = shipped_denoiser().init(&device);
    let mut group = criterion.benchmark_group("denoiser_forward");
    for batch in BATCHES {
        let predict = prediction(&denoiser, batch, &device);
        group.bench_function(BenchmarkId::from_parameter(batch), |bencher| {
            bencher.iter(|| finish(&device, predict()));
        });
    }
    group.finish();
}

/// What predicts for a batch of noisy latents and their estimates.
pub fn prediction(denoiser: &Denoiser, batch: usize, device: &Device) -> impl Fn() -> Tensor<3> {
    let z = noise([batch, LATENTS, LATENT_DIM], device);
    let alpha = Tensor::full([batch], 0.5, device);
    move || {
        let self_cond = Some(SelfCondition { estimate: z.clone(), present: None });
        let conditions = Conditions { self_cond, ..Conditions::default() };
        denoiser.forward(z.clone(), alpha.clone(), conditions)
    }
}
