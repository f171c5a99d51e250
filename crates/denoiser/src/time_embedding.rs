use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::gelu;
use burn::tensor::{DType, Device, FloatDType, Tensor};
use latent_text_nn::linear;

/// The sinusoid was made for integer times up to about a thousand.
const ALPHA_TO_TIME: f64 = 1000.0;
const LONGEST_WAVE: f64 = 10_000.0;

/// A sinusoid of the noise level and a small network on top.
#[derive(Module, Debug)]
pub(crate) struct TimeEmbedding {
    /// Angular frequencies of the sinusoid, `[dim / 2]`, always f32.
    frequencies: Tensor<1>,
    hidden: Linear,
    output: Linear,
}

impl TimeEmbedding {
    pub(crate) fn new(dim: usize, time_dim: usize, device: &Device) -> Self {
        Self {
            frequencies: Tensor::from_data(frequencies(dim / 2).as_slice(), (device, DType::F32)),
            hidden: LinearConfig::new(dim, time_dim).init(device),
            output: LinearConfig::new(time_dim, time_dim).init(device),
        }
    }

    /// `alpha` of shape `[batch]` to `[batch, time_dim]`, in the parameters' dtype.
    pub(crate) fn forward(&self, alpha: Tensor<1>) -> Tensor<2> {
        let sinusoid = self.sinusoid(alpha).cast(self.hidden.weight.dtype());
        linear(&self.output, gelu(linear(&self.hidden, sinusoid)))
    }

    /// Sines, then cosines, `[batch, dim]` in f32: half precision has no digits left for the
    /// phases of the fast waves. Nothing here is trained, so it stays out of the graph.
    fn sinusoid(&self, alpha: Tensor<1>) -> Tensor<2> {
        let time = alpha.without_autodiff().cast(FloatDType::F32) * ALPHA_TO_TIME;
        let frequencies = self.frequencies.clone().without_autodiff();
        let phases = time.unsqueeze_dim::<2>(1) * frequencies.unsqueeze_dim(0);
        Tensor::cat(vec![phases.clone().sin(), phases.cos()], 1)
    }
}

/// From 1 down to `1 / LONGEST_WAVE` in equal ratios. In f32, as where published weights were
/// trained: phases reach 1000, so that a last digit of a frequency shows in the output.
fn frequencies(count: usize) -> Vec<f32> {
    let ratio = (LONGEST_WAVE.ln() / (count - 1) as f64) as f32;
    (0..count).map(|i| (i as f32 * -ratio).exp()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sinusoid_has_its_closed_form() {
        let device = Device::default();
        let (dim, alpha) = (8, 0.3_f32);
        let embedding = TimeEmbedding::new(dim, 16, &device);
        let values = embedding.sinusoid(Tensor::from_data([alpha], &device));
        let values = values.try_into_vec_as::<f32>().unwrap();
        for i in 0..4 {
            let phase = 1000.0 * f64::from(alpha) * 10_000_f64.powf(-(i as f64) / 3.0);
            assert!((f64::from(values[i]) - phase.sin()).abs() < 1e-4, "sine {i}");
            assert!((f64::from(values[4 + i]) - phase.cos()).abs() < 1e-4, "cosine {i}");
        }
    }
}
