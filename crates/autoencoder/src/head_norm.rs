use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, FloatDType, Tensor};

const SMALLEST_RMS: f64 = 1e-8;

/// RMS norm of the queries or keys of every head, with one gain for all heads.
#[derive(Module, Debug)]
pub(crate) struct HeadNorm {
    gain: Param<Tensor<1>>,
}

impl HeadNorm {
    pub(crate) fn new(head_dim: usize, device: &Device) -> Self {
        Self { gain: Initializer::Ones.init([head_dim], device) }
    }

    /// `[batch, length, heads * head_dim]` in and out; computed in f32, returned in the dtype of `x`.
    pub(crate) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let (shape, dtype) = (x.dims(), x.dtype());
        let [batch, length, width] = shape;
        let gain = self.gain.val();
        let [head_dim] = gain.dims();
        let x = x.cast(FloatDType::F32).reshape([batch, length, width / head_dim, head_dim]);
        let mean_square = x.clone().square().mean_dim(3).clamp_min(SMALLEST_RMS.powi(2));
        let gain = gain.cast(FloatDType::F32).unsqueeze::<4>();
        (x / mean_square.sqrt() * gain).reshape(shape).cast(dtype)
    }
}
