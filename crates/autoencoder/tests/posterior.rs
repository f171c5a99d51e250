//! The Gaussian posterior of a variational autoencoder against quadrature, finite differences and
//! moments of draws.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use latent_text_autoencoder::{LatentNorm, LatentPosterior, Perceiver, PerceiverConfig};
use latent_text_nn::weights::named_shapes;

fn tensor(values: &[f32], device: &Device) -> Tensor<3> {
    Tensor::from_data(TensorData::new(values.to_vec(), [1, 1, values.len()]), device)
}

fn single(mean: f32, log_variance: f32, device: &Device) -> f64 {
    let posterior = LatentPosterior::new(tensor(&[mean], device), tensor(&[log_variance], device));
    f64::from(posterior.kl().into_scalar::<f32>())
}

/// The integral of `q ln(q / p)` with `p` = N(0, 1), by the trapezoidal rule, which converges faster
/// than any power of the step for Gaussians.
fn quadrature(mean: f64, log_variance: f64) -> f64 {
    let deviation = (log_variance / 2.0).exp();
    let (steps, reach) = (4000, 12.0);
    let step = 2.0 * reach / f64::from(steps);
    (0..=steps)
        .map(|index| {
            let eps = -reach + step * f64::from(index);
            let x = mean + deviation * eps;
            let log_q = -eps * eps / 2.0 - deviation.ln();
            let density = (-eps * eps / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
            density * (log_q + x * x / 2.0) * step
        })
        .sum()
}

#[test]
fn the_divergence_is_that_of_numerical_integration() {
    let device = Device::default();
    for (mean, log_variance) in
        [(0.0, 0.0), (1.5, 0.0), (0.0, -4.0), (0.0, 2.0), (-0.7, -1.3), (3.0, 1.0)]
    {
        let expected = quadrature(f64::from(mean), f64::from(log_variance));
        let found = single(mean, log_variance, &device);
        let bound = 2e-6 * (1.0 + expected);
        assert!((found - expected).abs() < bound, "{mean}, {log_variance}: {found}, {expected}");
    }
}

#[test]
fn the_divergence_sums_over_a_text_and_averages_over_texts() {
    let device = Device::default();
    let means = [0.3f32, -1.0, 0.5, 2.0, -0.2, 0.1, 1.0, 0.0, 0.4, -0.6, 0.7, 0.9];
    let log_variances = [-1.0f32, 0.5, -2.0, 0.0, 1.0, -0.3, 0.2, -0.8, 0.6, -1.5, 0.1, -0.4];
    let shaped = |values: &[f32]| {
        Tensor::<3>::from_data(TensorData::new(values.to_vec(), [2, 3, 2]), &device)
    };
    let found = LatentPosterior::new(shaped(&means), shaped(&log_variances)).kl();
    let each = means.iter().zip(log_variances);
    let expected: f64 = each.map(|(&mean, variance)| single(mean, variance, &device)).sum();
    assert!((f64::from(found.into_scalar::<f32>()) - expected / 2.0).abs() < 1e-5);
}

#[test]
fn gradients_of_the_divergence_are_those_of_differences() {
    let plain = Device::default();
    let device = plain.clone().autodiff();
    for (mean, log_variance) in [(0.8f32, -1.2f32), (-2.0, 0.7), (0.1, -3.0)] {
        let mean_tensor = tensor(&[mean], &device).require_grad();
        let variance_tensor = tensor(&[log_variance], &device).require_grad();
        let posterior = LatentPosterior::new(mean_tensor.clone(), variance_tensor.clone());
        let gradients = posterior.kl().backward();
        let step = 1e-2f32;
        let slope = |up: f64, down: f64| (up - down) / (2.0 * f64::from(step));
        let along_mean = slope(
            single(mean + step, log_variance, &plain),
            single(mean - step, log_variance, &plain),
        );
        let along_variance = slope(
            single(mean, log_variance + step, &plain),
            single(mean, log_variance - step, &plain),
        );
        for (tensor, expected) in [(mean_tensor, along_mean), (variance_tensor, along_variance)] {
            let found = f64::from(tensor.grad(&gradients).unwrap().into_scalar::<f32>());
            assert!((found - expected).abs() < 1e-3, "{mean}, {log_variance}: {found}, {expected}");
        }
    }
}

#[test]
fn draws_have_the_posteriors_mean_and_variance_and_pass_gradients_to_both() {
    let plain = Device::default();
    let device = plain.clone().autodiff();
    plain.seed(5);
    const DRAWS: usize = 40_000;
    let (mean, deviation) = (1.5f32, 0.25f32);
    let means = Tensor::<3>::full([1, DRAWS, 1], mean, &device).require_grad();
    let variances = Tensor::<3>::full([1, DRAWS, 1], 2.0 * deviation.ln(), &device).require_grad();
    let drawn = LatentPosterior::new(means.clone(), variances.clone()).draw();
    let gradients = drawn.clone().sum().backward();
    let values = drawn.inner().try_into_vec_as::<f32>().unwrap();
    let average = values.iter().sum::<f32>() / DRAWS as f32;
    let variance = values.iter().map(|value| (value - average).powi(2)).sum::<f32>() / DRAWS as f32;
    // Four standard errors.
    assert!((average - mean).abs() < 4.0 * deviation / (DRAWS as f32).sqrt(), "{average}");
    assert!((variance.sqrt() / deviation - 1.0).abs() < 4.0 / (2.0 * DRAWS as f32).sqrt());
    let slopes = means.grad(&gradients).unwrap().try_into_vec_as::<f32>().unwrap();
    assert!(slopes.iter().all(|&slope| slope == 1.0));
    // d/d(log variance) of mean + deviation eps = deviation eps / 2.
    let slopes = variances.grad(&gradients).unwrap().try_into_vec_as::<f32>().unwrap();
    for (slope, value) in slopes.iter().zip(&values) {
        assert!((slope - (value - mean) / 2.0).abs() < 1e-5);
    }
}

#[test]
fn extreme_log_variances_stay_finite() {
    let device = Device::default();
    for log_variance in [-1e30, 1e30] {
        let posterior =
            LatentPosterior::new(tensor(&[0.5], &device), tensor(&[log_variance], &device));
        assert!(posterior.kl().into_scalar::<f32>().is_finite());
        assert!(posterior.draw().into_scalar::<f32>().is_finite());
    }
}

fn config() -> PerceiverConfig {
    PerceiverConfig {
        dim_lm: 16,
        latents: 3,
        latent_dim: 8,
        layers: 1,
        head_dim: 8,
        ff_mult: 2,
        max_tokens: 6,
        ..PerceiverConfig::default()
    }
}

fn variational(latent_norm: LatentNorm) -> Perceiver {
    let device = Device::default();
    PerceiverConfig { gaussian_posterior: true, latent_norm, ..config() }.init(&device)
}

#[test]
fn a_variational_perceiver_encodes_to_the_mean() {
    let states = Tensor::<3>::ones([2, 5, 16], &Device::default()) * 0.3;
    for latent_norm in [LatentNorm::None, LatentNorm::L2] {
        let perceiver = variational(latent_norm);
        let posterior = perceiver.posterior(states.clone(), None).unwrap();
        let encoded = perceiver.compress(states.clone(), None);
        assert_eq!(encoded.dims(), [2, 3, 8]);
        let difference = (encoded.clone() - posterior.mean).abs().max().into_scalar::<f32>();
        assert_eq!(difference, 0.0);
        let norms = encoded.square().sum_dim(2).try_into_vec_as::<f32>().unwrap();
        let on_sphere = norms.iter().all(|norm| (norm - 8.0).abs() < 1e-4);
        assert_eq!(on_sphere, latent_norm == LatentNorm::L2, "{norms:?}");
    }
}

#[test]
fn the_posterior_is_one_linear_layer_more_and_off_by_default() {
    let device = Device::default();
    let plain = config().init(&device);
    let states = Tensor::<3>::ones([1, 5, 16], &device);
    assert!(plain.posterior(states, None).is_none());
    let names = |perceiver: &Perceiver| named_shapes(perceiver).into_iter().collect::<Vec<_>>();
    let added: Vec<_> = names(&variational(LatentNorm::L2))
        .into_iter()
        .filter(|entry| !names(&plain).contains(entry))
        .collect();
    let layer = [("posterior.weight", vec![16, 8]), ("posterior.bias", vec![16])];
    assert_eq!(added, layer.map(|(name, shape)| (name.to_string(), shape)));
    assert_eq!(variational(LatentNorm::L2).num_params(), plain.num_params() + 2 * 8 * 8 + 2 * 8);

    // Files without it are what they were.
    let text = serde_json::to_string(&config()).unwrap();
    assert!(!text.contains("posterior"), "{text}");
    let with = PerceiverConfig { gaussian_posterior: true, ..config() };
    let text = serde_json::to_string(&with).unwrap();
    assert_eq!(serde_json::from_str::<PerceiverConfig>(&text).unwrap(), with);
}
