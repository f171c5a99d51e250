use burn::tensor::{Distribution, FloatDType, Tensor};
use latent_text_autoencoder::LatentNorm;

/// Latents with Gaussian noise of `size` times their scale, `[batch, latents, latent_dim]` in and out.
pub(super) fn with_noise(latents: Tensor<3>, size: f64, norm: LatentNorm) -> Tensor<3> {
    let noise = latents.random_like(Distribution::Normal(0.0, size));
    match norm {
        LatentNorm::L2 => latents + noise,
        LatentNorm::None => {
            let scale = deviation(latents.clone());
            latents + noise * scale
        }
    }
}

/// The root of the mean squared difference from each dimension's mean, `[1, 1, 1]`, in the dtype of `x`.
/// Gradients pass through it, so that latents gain nothing by growing.
fn deviation(x: Tensor<3>) -> Tensor<3> {
    const SMALLEST: f64 = 1e-12;
    let dtype = x.dtype();
    let x = x.cast(FloatDType::F32);
    let mean = x.clone().mean_dim(0).mean_dim(1);
    let mean_square = (x - mean).square().mean().clamp_min(SMALLEST);
    mean_square.sqrt().reshape([1, 1, 1]).cast(dtype)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};
    use latent_text_autoencoder::LatentStatisticsAccumulator;

    use latent_text_testing::device_turn;

    use super::*;

    const DIM: usize = 4;

    /// Latents of different means and a deviation far from 1.
    fn latents(factor: f32, device: &Device) -> (Vec<f32>, Tensor<3>) {
        let value = |index: usize| {
            let wave = (index as f32 * 1.7).sin() + ((index / DIM) as f32 * 0.37).cos();
            factor * (wave * 2.0 + [5.0, -3.0, 0.0, 1.0][index % DIM])
        };
        let values: Vec<f32> = (0..200 * 5 * DIM).map(value).collect();
        let data = TensorData::new(values.clone(), [200, 5, DIM]);
        (values, Tensor::from_data(data, device))
    }

    fn root_mean_square(x: Tensor<3>) -> f64 {
        f64::from(x.square().mean().sqrt().into_scalar::<f32>())
    }

    #[test]
    fn noise_has_its_size_on_standardised_latents() {
        let _turn = device_turn();
        let device = Device::default();
        for factor in [1.0, 40.0] {
            let (values, latents) = latents(factor, &device);
            let mut statistics = LatentStatisticsAccumulator::new(DIM);
            statistics.add_values(&values);
            let statistics = statistics.finish().expect("statistics");
            device.seed(1);
            let noisy = with_noise(latents.clone(), 0.3, LatentNorm::None);
            let difference = statistics.normalise(noisy) - statistics.normalise(latents);
            let size = root_mean_square(difference);
            assert!((size - 0.3).abs() < 4.0 * 0.3 / (2.0 * 4000.0f64).sqrt(), "{size}");
        }
    }

    #[test]
    fn noise_on_the_sphere_has_its_size_as_it_is() {
        let _turn = device_turn();
        let device = Device::default();
        let (_, latents) = latents(40.0, &device);
        device.seed(1);
        let noisy = with_noise(latents.clone(), 0.3, LatentNorm::L2);
        let size = root_mean_square(noisy - latents);
        assert!((size - 0.3).abs() < 4.0 * 0.3 / (2.0 * 4000.0f64).sqrt() + 1e-3, "{size}");
    }

    #[test]
    fn latents_do_not_gain_by_growing() {
        // The ratio of noise to spread does not depend on a common factor, so that its derivative by the
        // factor is zero: it would not be if the scale were taken for a constant.
        let _turn = device_turn();
        let device = Device::default().autodiff();
        let (_, latents) = latents(1.0, &device);
        let factor = Tensor::<1>::ones([1], &device).require_grad();
        let grown = latents * factor.clone().reshape([1, 1, 1]);
        Device::default().seed(1);
        let noisy = with_noise(grown.clone(), 0.3, LatentNorm::None);
        let noise = noisy - grown.clone();
        let ratio = noise.square().mean() / deviation(grown).square().reshape([1]);
        let slope = factor.grad(&ratio.backward()).expect("a gradient").into_scalar::<f32>();
        assert!(slope.abs() < 1e-5, "{slope}");
    }
}
