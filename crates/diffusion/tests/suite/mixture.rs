//! A mixture of normals in two dimensions, whose best denoiser is known: what stochastic samplers draw
//! is tested against the mixture itself, with a fixed seed.

use std::ops::ControlFlow;
use std::sync::Arc;

use burn::tensor::activation::softmax;
use burn::tensor::{Tensor, TensorData};
use latent_text_diffusion::sampler::{Ddim, Ddpm, DpmSolverPp, EulerAncestral, Variance};
use latent_text_diffusion::{
    DenoiserInput, NoiseScheduleConfig, Prediction, SampleNoise, Sampler, SamplerPlan, Spacing,
    sample,
};

use crate::support::{device, values};

const POINTS: usize = 4000;
const DEVIATION: f64 = 0.2;
const CENTRES: [[f64; 2]; 4] = [[1.5, 0.0], [-0.5, 1.0], [-0.5, -1.0], [0.5, 1.5]];
const WEIGHTS: [f64; 4] = [0.4, 0.3, 0.2, 0.1];

/// `E[x0 | z]`, for `z` of shape `[points, 2]`.
fn best_denoiser(input: DenoiserInput<2>) -> Tensor<2> {
    let level = input.level;
    let (signal, variance) = (level.signal(), DEVIATION.powi(2));
    let total = signal.powi(2) * variance + level.noise().powi(2);
    let constant = |values: Vec<f64>, shape: [usize; 2]| {
        Tensor::<2>::from_data(TensorData::new(values, shape), &device())
    };
    let centres = constant(CENTRES.concat(), [4, 2]);
    // ln of the component's weight times its density, up to what all have in common.
    let bias: Vec<f64> = CENTRES
        .iter()
        .zip(WEIGHTS)
        .map(|(c, weight)| weight.ln() - signal.powi(2) * c[0].hypot(c[1]).powi(2) / (2.0 * total))
        .collect();
    let scores = input.z.clone().matmul(centres.clone().transpose()) * (signal / total);
    let centre = softmax(scores + constant(bias, [1, 4]), 1).matmul(centres);
    let gain = signal * variance / total;
    (input.z - centre.clone() * signal) * gain + centre
}

fn draw(sampler: Arc<dyn Sampler>) -> Vec<[f64; 2]> {
    let schedule = NoiseScheduleConfig::default().init().unwrap();
    let spacing = Spacing::Uniform;
    let plan =
        SamplerPlan::with_sampler(&schedule, sampler, Prediction::X0, &spacing, 200).unwrap();
    let mut noise = SampleNoise::new(8, 0..POINTS as u64);
    let go_on = |_: latent_text_diffusion::StepReport<'_, 2>| ControlFlow::Continue(());
    let x = sample(&plan, [POINTS, 2], &mut noise, &device(), best_denoiser, go_on).unwrap();
    values(x).chunks(2).map(|p| [p[0].into(), p[1].into()]).collect()
}

fn nearest(point: &[f64; 2]) -> usize {
    let distance = |c: &[f64; 2]| (point[0] - c[0]).hypot(point[1] - c[1]);
    (0..4).min_by(|&i, &j| distance(&CENTRES[i]).total_cmp(&distance(&CENTRES[j]))).unwrap()
}

/// The components lie three standard deviations and more from the lines between them, so that the
/// nearest centre tells the component of all but some in a thousand points.
#[test]
fn stochastic_samplers_draw_from_the_mixture() {
    let samplers: [Arc<dyn Sampler>; 5] = [
        Arc::new(Ddpm::default()),
        Arc::new(Ddpm { variance: Variance::Small }),
        Arc::new(Ddim { eta: 1.0 }),
        Arc::new(EulerAncestral::default()),
        Arc::new(DpmSolverPp { eta: 1.0, ..Default::default() }),
    ];
    for sampler in samplers {
        let name = format!("{sampler:?}");
        let points = draw(sampler);
        let mut members = [const { Vec::new() }; 4];
        points.iter().for_each(|point| members[nearest(point)].push(*point));

        let expected = WEIGHTS.map(|weight| weight * POINTS as f64);
        let chi_square: f64 =
            (0..4).map(|i| (members[i].len() as f64 - expected[i]).powi(2) / expected[i]).sum();
        println!("{name}: chi-square {chi_square:.2}");
        assert!(chi_square < 16.27, "{name}: {chi_square} is beyond the 99.9 % quantile");

        for (centre, members) in CENTRES.iter().zip(&members) {
            let count = members.len() as f64;
            for axis in 0..2 {
                let mean = members.iter().map(|p| p[axis]).sum::<f64>() / count;
                let variance =
                    members.iter().map(|p| (p[axis] - mean).powi(2)).sum::<f64>() / count;
                let off = (mean - centre[axis]).abs() / (DEVIATION / count.sqrt());
                assert!(off < 5.0, "{name}: the mean of {centre:?} is {off} standard errors off");
                let ratio = variance / DEVIATION.powi(2);
                let allowed = 5.0 * (2.0 / count).sqrt() + 0.03;
                assert!((ratio - 1.0).abs() < allowed, "{name}: {ratio} times the variance");
            }
        }
    }
}
