//! The data: eight equally likely Gaussians along a spiral in the plane. The best estimate of the data
//! under any noise is known in closed form.

use std::f64::consts::{FRAC_PI_2, FRAC_PI_4};

use burn::tensor::activation::softmax;
use burn::tensor::{DType, Tensor, TensorData};
use latent_text::diffusion::NoiseLevel;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

pub type Point = [f64; 2];

/// Standard deviation of each component, in both directions.
pub const STD: f64 = 0.25;

const COMPONENTS: usize = 8;

/// Steps of the Runge-Kutta method from pure noise to data; half as many change the result by less
/// than 1e-8.
const FLOW_STEPS: usize = 800;

pub fn means() -> [Point; COMPONENTS] {
    std::array::from_fn(|k| {
        let (angle, radius) = (FRAC_PI_4 * k as f64, 0.8 + 0.15 * k as f64);
        [radius * angle.cos(), radius * angle.sin()]
    })
}

/// The exact `E[x0 | z]` and `E[eps | z]` of `z`, both `[points, 2]`.
///
/// In a component with mean `m`, `z` has the mean `a m` and the variance `a^2 STD^2 + s^2`.
pub fn estimates(z: Tensor<2>, level: NoiseLevel) -> (Tensor<2>, Tensor<2>) {
    let (a, s) = (level.signal(), level.noise());
    let variance = (a * STD).powi(2) + s * s;
    let means = means();
    let values: Vec<f32> = means.iter().flatten().map(|&m| m as f32).collect();
    let shifts: Vec<f32> =
        means.iter().map(|[x, y]| (-0.5 * a * a * (x * x + y * y) / variance) as f32).collect();
    let to = (&z.device(), DType::F32);
    let means = Tensor::<2>::from_data(TensorData::new(values, [COMPONENTS, 2]), to);
    let shifts = Tensor::<2>::from_data(TensorData::new(shifts, [1, COMPONENTS]), to);

    let logits = z.clone().matmul(means.clone().transpose()) * (a / variance) + shifts;
    let mean = softmax(logits, 1).matmul(means);
    let deviation = z - mean.clone() * a;
    let x0 = mean + deviation.clone() * (a * STD * STD / variance);
    (x0, deviation * (s / variance))
}

/// Samples of the mixture itself.
pub fn exact_samples(seed: u64, count: usize) -> Vec<Point> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let means = means();
    let sample = |_| {
        let mean = means[rng.random_range(0..COMPONENTS)];
        mean.map(|m| {
            let n: f64 = StandardNormal.sample(&mut rng);
            m + STD * n
        })
    };
    (0..count).map(sample).collect()
}

/// Where the exact probability flow brings `z`, which is noised data divided by
/// `sqrt(signal^2 + noise^2)`, from the level with this `sigma`.
///
/// Every process follows the same flow `dz / d angle = v` when it is written so, with the angle
/// `atan(sigma)` as its time. Classical Runge-Kutta of the fourth order, in f64.
pub fn exact_flow(z: Point, sigma: f64) -> Point {
    let start = sigma.atan();
    let steps = (FLOW_STEPS as f64 * start / FRAC_PI_2).ceil().max(1.0) as usize;
    let h = -start / steps as f64;
    let step = |z: Point, index: usize| {
        let angle = start + h * index as f64;
        let at = |slope: Point, part: f64| {
            velocity([z[0] + part * h * slope[0], z[1] + part * h * slope[1]], angle + part * h)
        };
        let k1 = at([0.0; 2], 0.0);
        let k2 = at(k1, 0.5);
        let k3 = at(k2, 0.5);
        let k4 = at(k3, 1.0);
        std::array::from_fn(|i| z[i] + h / 6.0 * (k1[i] + 2.0 * k2[i] + 2.0 * k3[i] + k4[i]))
    };
    (0..steps).fold(z, step)
}

/// `v = a eps - s x0` of a variance-preserving `z`, with `a` and `s` the cosine and sine of the angle.
fn velocity(z: Point, angle: f64) -> Point {
    let (s, a) = angle.sin_cos();
    let variance = (a * STD).powi(2) + s * s;
    let means = means();
    let logit = |m: Point| {
        (a * (z[0] * m[0] + z[1] * m[1]) - 0.5 * a * a * (m[0] * m[0] + m[1] * m[1])) / variance
    };
    let largest = means.iter().map(|&m| logit(m)).fold(f64::NEG_INFINITY, f64::max);
    let (mut total, mut mean) = (0.0, [0.0; 2]);
    for m in means {
        let weight = (logit(m) - largest).exp();
        total += weight;
        mean = std::array::from_fn(|i| mean[i] + weight * m[i]);
    }
    std::array::from_fn(|i| {
        let mean = mean[i] / total;
        let deviation = z[i] - a * mean;
        let x0 = mean + deviation * a * STD * STD / variance;
        a * deviation * s / variance - s * x0
    })
}
