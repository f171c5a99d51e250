use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::gelu;
use burn::tensor::{DType, Device, FloatDType, Tensor};
use latent_text_nn::linear;

const LONGEST_WAVE: f64 = 10_000.0;

/// A sinusoid of the time, or of what stands for it, and a small network on top.
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

    /// Times from 0 to about a thousand, `[batch]`, to `[batch, time_dim]` in the parameters' dtype.
    /// They get no gradient.
    pub(crate) fn forward(&self, time: Tensor<1>) -> Tensor<2> {
        let sinusoid = self.sinusoid(time).cast(self.hidden.weight.dtype());
        linear(&self.output, gelu(linear(&self.hidden, sinusoid)))
    }

    /// Sines, then cosines, `[batch, dim]` in f32: half precision has no digits left for the
    /// phases of the fast waves. Nothing here is trained, so it stays out of the graph.
    fn sinusoid(&self, time: Tensor<1>) -> Tensor<2> {
        let time = time.without_autodiff().cast(FloatDType::F32);
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
        let (dim, time) = (8, 300.0_f32);
        let embedding = TimeEmbedding::new(dim, 16, &device);
        let values = embedding.sinusoid(Tensor::from_data([time], &device));
        let values = values.try_into_vec_as::<f32>().unwrap();
        for i in 0..4 {
            let phase = f64::from(time) * 10_000_f64.powf(-(i as f64) / 3.0);
            assert!((f64::from(values[i]) - phase.sin()).abs() < 1e-4, "sine {i}");
            assert!((f64::from(values[4 + i]) - phase.cos()).abs() < 1e-4, "cosine {i}");
        }
    }
}
