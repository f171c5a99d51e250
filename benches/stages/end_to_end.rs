//! A text from noise, as `LatentText::generate` writes it: sampling, reconstruction and decoding.

use std::hint::black_box;
use std::ops::ControlFlow;

use burn::tensor::Device;
use criterion::{BenchmarkId, Criterion};
use latent_text::{Request, SamplingDefaults};

use crate::common::{
    TOKENS, autoencoder, model, shipped_bart, shipped_denoiser, shipped_perceiver,
};

const STEPS: usize = 50;

pub fn generate(criterion: &mut Criterion) {
    let device = Device::default();
    let autoencoder = autoencoder(shipped_bart(), shipped_perceiver(), &device).expect("parts fit");
    let denoiser = shipped_denoiser();
    let network = denoiser.init(&device).into();
    let sampling =
        SamplingDefaults { steps: STEPS, rescale_x0: true, ..SamplingDefaults::default() };
    let model = model((denoiser, network), autoencoder, sampling, TOKENS, &device)
        .expect("the parts fit together");
    let mut group = criterion.benchmark_group("end_to_end");
    group.sample_size(10);
    for count in [1, 8] {
        let request = Request { count, ..Request::default() };
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| {
                let texts = model.generate(&request, |_| ControlFlow::Continue(()));
                black_box(texts.expect("the request is valid"))
            });
        });
    }
    group.finish();
}
