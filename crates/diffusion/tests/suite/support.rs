use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};
use latent_text_diffusion::{NoiseSource, SampleNoise};

pub fn device() -> Device {
    Device::default()
}

/// Whether the device computes in `dtype`. On others its results would mean nothing, so that a test says
/// what it leaves out.
pub fn supports(dtype: FloatDType) -> bool {
    let supported = device().supports_dtype(dtype);
    if !supported {
        println!("left out: this device does not compute in {dtype:?}");
    }
    supported
}

/// The values of `x` in row-major order.
pub fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data_dtype(DType::F32).try_to_vec().unwrap()
}

pub fn tensor(values: Vec<f32>, shape: [usize; 3]) -> Tensor<3> {
    Tensor::from_data(TensorData::new(values, shape), &device())
}

/// Standard normal values that depend on `seed` only.
pub fn normal(seed: u64, shape: [usize; 3]) -> Tensor<3> {
    SampleNoise::new(seed, 0..shape[0] as u64).normal(shape, &device())
}

#[track_caller]
pub fn assert_close(actual: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(actual.len(), expected.len());
    for (index, (a, e)) in actual.iter().zip(expected).enumerate() {
        let allowed = tolerance * e.abs().max(1.0);
        assert!((a - e).abs() <= allowed, "[{index}] is {a}, not {e}");
    }
}

/// Plays back given noise and fails when asked for more.
pub struct Replay(std::vec::IntoIter<Tensor<3>>);

impl Replay {
    pub fn new(draws: Vec<Tensor<3>>) -> Self {
        Self(draws.into_iter())
    }

    pub fn left(&self) -> usize {
        self.0.len()
    }
}

impl NoiseSource for Replay {
    fn draw(&mut self, shape: [usize; 3], _: &Device) -> Tensor<3> {
        let noise = self.0.next().expect("more noise drawn than was recorded");
        assert_eq!(noise.dims(), shape);
        noise
    }
}
