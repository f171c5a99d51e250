//! Data with a normal distribution: the best denoiser is then linear and known, and so is what each
//! sampler makes of it.

use std::f64::consts::FRAC_PI_2;
use std::ops::ControlFlow;

use burn::tensor::{Tensor, TensorData};
use latent_text_diffusion::{
    DenoiserInput, NoiseSchedule, NoiseScheduleConfig, Prediction, SampleNoise, SamplerKind,
    SamplerPlan, sample,
};

use crate::support::{Replay, device, tensor, values};

fn schedule() -> NoiseSchedule {
    NoiseScheduleConfig::default().init().unwrap()
}

fn run(
    plan: &SamplerPlan,
    z: Tensor<3>,
    denoise: impl FnMut(DenoiserInput) -> Tensor<3>,
) -> Vec<f32> {
    let (shape, mut noise) = (z.dims(), Replay::new(vec![z]));
    let go_on = |_: latent_text_diffusion::StepReport<'_>| ControlFlow::Continue(());
    values(sample(plan, shape, &mut noise, &device(), denoise, go_on).unwrap())
}

/// Data of mean 0 and variance 1: `E[x0 | z] = sqrt(alpha) z` and `E[eps | z] = sqrt(1 - alpha) z`,
/// hence `v = 0`.
fn unit_denoiser(prediction: Prediction, input: DenoiserInput) -> Tensor<3> {
    let alpha = input.alpha.reshape([-1, 1, 1]);
    match prediction {
        Prediction::X0 => input.z * alpha.sqrt(),
        Prediction::Eps => input.z * (1.0_f32 - alpha).sqrt(),
        _ => input.z.zeros_like(),
    }
}

/// With unit data a DDIM step multiplies by `cos(theta - theta')`, where `alpha = cos(theta)^2`. The
/// cosine schedule has `theta = t pi / 2`, save at `t = 1`, where the clamped log-SNR of -15 gives
/// `tan(theta) = e^7.5`. The last step multiplies by `cos(theta)`.
#[test]
fn ddim_on_unit_data_multiplies_by_known_cosines() {
    for steps in [1, 2, 10, 100] {
        let first = 7.5_f64.exp().atan();
        let turn = FRAC_PI_2 / steps as f64;
        let gain = match steps {
            1 => first.cos(),
            _ => (first - (FRAC_PI_2 - turn)).cos() * turn.cos().powi(steps - 1),
        };
        for (prediction, tolerance) in
            [(Prediction::V, 1e-5), (Prediction::X0, 1e-5), (Prediction::Eps, 1e-3)]
        {
            let plan = SamplerPlan::new(&schedule(), SamplerKind::Ddim, prediction, steps as usize);
            let z = [-2.0, 0.5, 1.0];
            let latents = run(&plan.unwrap(), tensor(z.to_vec(), [1, 1, 3]), |input| {
                unit_denoiser(prediction, input)
            });
            for (z, x) in z.into_iter().zip(latents) {
                let error = (f64::from(x) - gain * f64::from(z)).abs();
                assert!(error < tolerance, "{prediction:?} {steps}: {x} from {z}, not {gain} z");
            }
        }
    }
}

/// The exact flow keeps `(z - sqrt(alpha) m) / sqrt(alpha c^2 + 1 - alpha)` constant; DDIM
/// approaches it with the first order in the step size.
#[test]
fn ddim_converges_to_the_exact_flow() {
    let (mean, deviation) = (0.7_f64, 0.4_f64);
    let start = schedule().level(1.0);
    let z = 1.3;
    let spread = (start.alpha() * deviation.powi(2) + 1.0 - start.alpha()).sqrt();
    let exact = mean + deviation * (z - start.signal() * mean) / spread;

    let error = |steps| {
        let plan = SamplerPlan::new(&schedule(), SamplerKind::Ddim, Prediction::X0, steps).unwrap();
        let x = run(&plan, tensor(vec![z as f32], [1, 1, 1]), |input| {
            let alpha = input.alpha.reshape([1, 1, 1]);
            let variance = deviation.powi(2);
            let total = alpha.clone() * variance + (1.0_f32 - alpha.clone());
            let gain = alpha.clone().sqrt() * variance / total;
            (input.z - alpha.sqrt() * mean) * gain + mean
        });
        f64::from(x[0]) - exact
    };
    let (coarse, fine) = (error(64), error(128));
    assert!(fine.abs() < 0.01, "{fine}");
    assert!((1.8..2.2).contains(&(coarse / fine)), "{coarse} {fine}");
}

/// Ancestral sampling of correlated data: along each principal axis of the covariance the latents
/// stay normal, with a mean and a variance that follow a recursion of scalars.
#[test]
fn ddpm_reaches_the_analytic_mean_and_covariance() {
    const STEPS: usize = 10;
    const BATCH: usize = 512;
    const LATENTS: usize = 128;
    let mean = [0.5, -1.0];
    let (cos, sin) = (0.8, 0.6); // the axes (cos, sin) and (-sin, cos)
    let variances = [1.5, 0.2];
    let covariance = |[a, b]: [f64; 2]| {
        let off = (a - b) * cos * sin;
        [[a * cos * cos + b * sin * sin, off], [off, a * sin * sin + b * cos * cos]]
    };

    let times: Vec<f64> = (0..STEPS).map(|i| 1.0 - i as f64 / STEPS as f64).collect();
    let alphas: Vec<f64> = times.iter().map(|&t| schedule().alpha(t)).collect();
    let along_axes = |[x, y]: [f64; 2]| [x * cos + y * sin, y * cos - x * sin];
    let means = along_axes(mean);
    let reached: Vec<(f64, f64)> =
        (0..2).map(|axis| ddpm_moments(&alphas, means[axis], variances[axis])).collect();
    let (m, v) = ([reached[0].0, reached[1].0], [reached[0].1, reached[1].1]);
    let expected_mean = [m[0] * cos - m[1] * sin, m[0] * sin + m[1] * cos];
    let expected = covariance(v);

    let plan = SamplerPlan::new(&schedule(), SamplerKind::Ddpm, Prediction::X0, STEPS).unwrap();
    let mut levels = alphas.iter();
    let latents = sample(
        &plan,
        [BATCH, LATENTS, 2],
        &mut SampleNoise::new(20, 0..BATCH as u64),
        &device(),
        |input| {
            let alpha = *levels.next().unwrap();
            let gains = variances.map(|c| posterior_gain(alpha, c));
            let rows = |[a, b]: [f64; 2], rows: usize| {
                Tensor::<2>::from_data(TensorData::new(vec![a, b], [rows, 2 / rows]), &device())
            };
            let [first, second] = covariance(gains);
            let gain = Tensor::cat(vec![rows(first, 1), rows(second, 1)], 0);
            let mean = rows(mean, 1);
            let z = input.z.reshape([BATCH * LATENTS, 2]);
            let x0 = (z - mean.clone() * alpha.sqrt()).matmul(gain) + mean;
            x0.reshape([BATCH, LATENTS, 2])
        },
        |_| ControlFlow::Continue(()),
    );

    let points: Vec<[f64; 2]> = values(latents.unwrap())
        .chunks(2)
        .map(|point| [point[0].into(), point[1].into()])
        .collect();
    let average =
        |f: &dyn Fn(&[f64; 2]) -> f64| points.iter().map(f).sum::<f64>() / points.len() as f64;
    let count = points.len() as f64;
    for i in 0..2 {
        let actual = average(&|point| point[i]);
        let allowed = 4.0 * (expected[i][i] / count).sqrt();
        assert!((actual - expected_mean[i]).abs() < allowed, "{actual} {expected_mean:?}");
        for j in 0..2 {
            let deviation = |point: &[f64; 2], axis: usize| point[axis] - expected_mean[axis];
            let actual = average(&|point| deviation(point, i) * deviation(point, j));
            let square = expected[i][i] * expected[j][j] + expected[i][j].powi(2);
            let allowed = 4.0 * (square / count).sqrt();
            assert!((actual - expected[i][j]).abs() < allowed, "{i} {j}: {actual} {expected:?}");
        }
    }
}

/// With more steps the same recursion comes to the data's own mean and variance.
#[test]
fn the_ddpm_recursion_leads_to_the_data() {
    let alphas: Vec<f64> = (0..4000).map(|i| schedule().alpha(1.0 - f64::from(i) / 4e3)).collect();
    for (mean, variance) in [(0.5, 1.5), (-1.0, 0.2)] {
        let reached = ddpm_moments(&alphas, mean, variance);
        assert!((reached.0 - mean).abs() < 2e-3, "{reached:?}");
        assert!((reached.1 - variance).abs() < 2e-3, "{reached:?}");
    }
}

/// `d E[x0 | z] / dz` for data of this variance.
fn posterior_gain(alpha: f64, variance: f64) -> f64 {
    alpha.sqrt() * variance / (alpha * variance + 1.0 - alpha)
}

/// Mean and variance of what ancestral sampling makes of standard normal noise, in the formulas of
/// the paper, for scalar data of the given mean and variance.
fn ddpm_moments(alphas: &[f64], data_mean: f64, data_variance: f64) -> (f64, f64) {
    let (mut mean, mut variance) = (0.0, 1.0);
    for (i, &alpha) in alphas.iter().enumerate() {
        let gain = posterior_gain(alpha, data_variance);
        let x0 = data_mean + gain * (mean - alpha.sqrt() * data_mean);
        let Some(next) = alphas.get(i + 1) else {
            return (x0, gain.powi(2) * variance);
        };
        let r = alpha / next;
        // eps = (z - sqrt(alpha) x0) / sqrt(1 - alpha)
        let eps = (mean - alpha.sqrt() * x0) / (1.0 - alpha).sqrt();
        let eps_gain = (1.0 - alpha.sqrt() * gain) / (1.0 - alpha).sqrt();
        let weight = (1.0 - r) / (1.0 - alpha).sqrt();
        mean = (mean - weight * eps) / r.sqrt();
        variance = ((1.0 - weight * eps_gain) / r.sqrt()).powi(2) * variance + (1.0 - r);
    }
    (mean, variance)
}
