use burn::tensor::{DType, Device, Tensor, TensorData};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

/// Where a sampling run takes its standard normal noise from.
///
/// A run asks once for the initial data and then, with a stochastic sampler, once for every step that
/// adds noise.
pub trait NoiseSource<const D: usize = 3> {
    /// The next noise, standard normal, f32, of shape `[batch, ..]`.
    fn draw(&mut self, shape: [usize; D], device: &Device) -> Tensor<D>;
}

/// Standard normal noise with one generator (ChaCha8) for every sample of the batch.
///
/// A sample's generator depends on nothing but the seed and the sample's index: sample 5 of seed 1
/// gets the same noise alone, in a batch of 8 and in a batch of 256, on every device.
#[derive(Debug, Clone)]
pub struct SampleNoise {
    generators: Vec<ChaCha8Rng>,
}

impl SampleNoise {
    /// Generators for the samples with these indices, in batch order.
    pub fn new(seed: u64, samples: impl IntoIterator<Item = u64>) -> Self {
        let key = ChaCha8Rng::seed_from_u64(seed);
        let generators = samples
            .into_iter()
            .map(|sample| {
                let mut generator = key.clone();
                generator.set_stream(sample);
                generator
            })
            .collect();
        Self { generators }
    }

    /// The next noise of every sample, f32, of shape `[batch, ..]`.
    ///
    /// # Panics
    /// If `batch` is not the number of samples.
    pub fn normal<const D: usize>(&mut self, shape: [usize; D], device: &Device) -> Tensor<D> {
        assert_eq!(
            shape.first(),
            Some(&self.generators.len()),
            "noise of shape {shape:?} asked of {} samples",
            self.generators.len()
        );
        let per_sample: usize = shape[1..].iter().product();
        let mut values = vec![0.0_f32; self.generators.len() * per_sample];
        if per_sample > 0 {
            let samples = values.par_chunks_mut(per_sample).zip(&mut self.generators);
            samples.for_each(|(sample, generator)| {
                sample.fill_with(|| StandardNormal.sample(generator));
            });
        }
        Tensor::from_data(TensorData::new(values, shape), (device, DType::F32))
    }
}

impl<const D: usize> NoiseSource<D> for SampleNoise {
    fn draw(&mut self, shape: [usize; D], device: &Device) -> Tensor<D> {
        self.normal(shape, device)
    }
}
