//! Normal data, for which the best denoiser is linear and the exact result known: where each sampler
//! ends, and how fast it comes nearer with more steps.
//!
//! Everything that a sampler does is linear then. A quantity of a run is therefore written as its
//! factors on `[1, first noise, second noise, ..]`, in f64, which gives exact means and variances.

use std::ops::ControlFlow;

use burn::tensor::Tensor;
use latent_text_diffusion::sampler::{
    Ddim, Ddpm, Deis, DpmSolverPp, Euler, EulerAncestral, FlowHeun, Heun, Order, Slope, UniPc,
    Update, Variance, Variant,
};
use latent_text_diffusion::{
    Family, NoiseLevel, NoisePoint, Prediction, SampleNoise, Sampler, SamplerPlan, sample,
};

use crate::support::{device, values};

/// Mean and standard deviation of the data.
const DATA: (f64, f64) = (0.7, 0.6);

/// From nearly pure noise to the log-SNR `end`, evenly in log-SNR.
fn points(family: Family, steps: usize, end: f64) -> Vec<NoisePoint> {
    let start = -14.0;
    let at = |i: usize| {
        let share = i as f64 / steps as f64;
        let level = NoiseLevel::new(family, start + (end - start) * share);
        NoisePoint { time: 1.0 - share, level }
    };
    (0..=steps).map(at).collect()
}

fn plan(sampler: &dyn Sampler, points: Vec<NoisePoint>) -> SamplerPlan {
    SamplerPlan::from_points(points, sampler, Prediction::X0).unwrap()
}

/// `E[x0 | z] = offset + gain z`.
fn best_denoiser(level: NoiseLevel) -> (f64, f64) {
    let (mean, deviation) = DATA;
    let variance = deviation.powi(2);
    let total = level.signal().powi(2) * variance + level.noise().powi(2);
    let gain = level.signal() * variance / total;
    (mean - gain * level.signal() * mean, gain)
}

/// Factors on `[1, noise of each draw ..]`.
type Linear = Vec<f64>;

fn sum(terms: &[(f64, &Linear)]) -> Linear {
    let length = terms.iter().map(|(_, term)| term.len()).max().unwrap_or(0);
    let at =
        |i: usize| terms.iter().map(|(factor, term)| factor * term.get(i).unwrap_or(&0.0)).sum();
    (0..length).map(at).collect()
}

/// What a plan makes of `z`, with the best denoiser.
fn run(plan: &SamplerPlan, mut z: Linear) -> Linear {
    let one: Linear = vec![1.0];
    let (mut kept, mut x0s, mut epss) = (vec![], vec![], vec![]);
    let mut draws = 1;
    for stage in plan.stages() {
        let level = stage.at.level;
        let (offset, gain) = best_denoiser(level);
        let x0 = sum(&[(offset, &one), (gain, &z)]);
        let eps = sum(&[(1.0 / level.noise(), &z), (-level.signal() / level.noise(), &x0)]);
        x0s.insert(0, x0);
        epss.insert(0, eps);
        let mut apply = |update: &Update, kept: &Linear| {
            let mut terms = vec![(update.z, &z), (update.kept, kept)];
            terms.extend(update.x0.iter().copied().zip(&x0s));
            terms.extend(update.eps.iter().copied().zip(&epss));
            let mut result = sum(&terms);
            if update.noise != 0.0 {
                draws += 1;
                result.resize(draws + 1, 0.0);
                result[draws] += update.noise;
            }
            result
        };
        if let Some(keep) = &stage.keep {
            kept = apply(keep, &kept);
        }
        z = apply(&stage.next, &kept);
    }
    z
}

/// Mean and standard deviation.
fn moments(linear: &Linear) -> [f64; 2] {
    [linear[0], linear[1..].iter().map(|factor| factor.powi(2)).sum::<f64>().sqrt()]
}

/// Mean and standard deviation of noised data.
fn noised(level: NoiseLevel) -> [f64; 2] {
    let (mean, deviation) = DATA;
    [level.signal() * mean, (level.signal() * deviation).hypot(level.noise())]
}

/// How far plans that start from noised data end from noised data, in mean and standard deviation.
///
/// They end in the middle, each at another level: near the data, and at single levels, errors of the
/// leading order cancel.
fn error(sampler: &dyn Sampler, family: Family, steps: usize) -> f64 {
    let errors = [-1.5, 0.0, 1.5].map(|end| {
        let plan = plan(sampler, points(family, steps, end));
        let [first, last] = [0, steps].map(|step| noised(plan.points()[step].level));
        let [mean, deviation] = moments(&run(&plan, first.to_vec()));
        (mean - last[0]).hypot(deviation - last[1])
    });
    errors.iter().map(|error| error.powi(2)).sum::<f64>().sqrt()
}

fn deterministic() -> Vec<(Box<dyn Sampler>, Family, f64)> {
    use Family::{RectifiedFlow, VarianceExploding, VariancePreserving};
    let multistep =
        |order, slope| DpmSolverPp { order, slope, lower_order_final: false, ..Default::default() };
    let unipc =
        |order, variant| UniPc { order, variant, lower_order_final: false, ..Default::default() };
    let predictor = UniPc { corrector: false, ..unipc(Order::Two, Variant::Bh2) };
    let deis = |order| Deis { order, lower_order_final: false };
    let mut samplers: Vec<(Box<dyn Sampler>, Family, f64)> = Vec::new();
    for family in [VariancePreserving, VarianceExploding, RectifiedFlow] {
        samplers.push((Box::new(Ddim::default()), family, 1.0));
        samplers.push((Box::new(Euler::default()), family, 1.0));
        samplers.push((Box::new(Heun::default()), family, 2.0));
        samplers.push((Box::new(multistep(Order::One, Slope::Midpoint)), family, 1.0));
        samplers.push((Box::new(multistep(Order::Two, Slope::Midpoint)), family, 2.0));
        samplers.push((Box::new(multistep(Order::Two, Slope::Heun)), family, 2.0));
        samplers.push((Box::new(multistep(Order::Three, Slope::Heun)), family, 3.0));
        samplers.push((Box::new(predictor), family, 2.0));
        samplers.push((Box::new(unipc(Order::One, Variant::Bh1)), family, 2.0));
        samplers.push((Box::new(unipc(Order::One, Variant::Bh2)), family, 2.0));
        samplers.push((Box::new(unipc(Order::Two, Variant::Bh1)), family, 3.0));
        samplers.push((Box::new(unipc(Order::Two, Variant::Bh2)), family, 3.0));
        samplers.push((Box::new(deis(Order::Two)), family, 2.0));
        samplers.push((Box::new(deis(Order::Three)), family, 3.0));
    }
    samplers.push((Box::new(FlowHeun {}), RectifiedFlow, 2.0));
    samplers
}

#[test]
fn deterministic_samplers_converge_with_their_order() {
    let mut wrong = vec![];
    for (sampler, family, order) in deterministic() {
        let [coarse, fine] = [160, 320].map(|steps| error(&*sampler, family, steps));
        let slope = (coarse / fine).log2();
        println!("{slope:.3} {fine:.1e} {family:?} {sampler:?}");
        if (slope - order).abs() > 0.15 {
            wrong.push(format!("{slope:.3} instead of {order}: {family:?} {sampler:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_libraries_third_order_is_a_second_one() {
    let sampler = DpmSolverPp {
        order: Order::Three,
        half_curvature: true,
        lower_order_final: false,
        ..Default::default()
    };
    let [coarse, fine] = [160, 320].map(|steps| error(&sampler, Family::VariancePreserving, steps));
    let slope = (coarse / fine).log2();
    assert!((slope - 2.0).abs() < 0.15, "{slope}");
}

fn stochastic() -> Vec<(Box<dyn Sampler>, f64)> {
    let sde = |order, eta, slope| DpmSolverPp {
        order,
        eta,
        slope,
        lower_order_final: false,
        ..Default::default()
    };
    vec![
        (Box::new(Ddpm::default()), 1.0),
        (Box::new(Ddpm { variance: Variance::Small }), 1.0),
        (Box::new(Ddpm { variance: Variance::Interpolated { large: 0.3 } }), 1.0),
        (Box::new(Ddim { eta: 0.5 }), 1.0),
        (Box::new(Ddim { eta: 1.0 }), 1.0),
        (Box::new(EulerAncestral { eta: 1.0 }), 1.0),
        (Box::new(sde(Order::One, 1.0, Slope::Midpoint)), 1.0),
        (Box::new(sde(Order::Two, 1.0, Slope::Midpoint)), 2.0),
        (Box::new(sde(Order::Two, 0.5, Slope::Heun)), 2.0),
        // The noise within a step keeps it from the third order.
        (Box::new(sde(Order::Three, 1.0, Slope::Heun)), 2.0),
    ]
}

#[test]
fn stochastic_samplers_converge_in_mean_and_variance() {
    let mut wrong = vec![];
    for (sampler, order) in stochastic() {
        let [coarse, fine] =
            [1280, 2560].map(|steps| error(&*sampler, Family::VariancePreserving, steps));
        let slope = (coarse / fine).log2();
        println!("{slope:.3} {fine:.1e} {sampler:?}");
        if (slope - order).abs() > 0.15 {
            wrong.push(format!("{slope:.3} instead of {order}: {sampler:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The arithmetic on tensors is that of the factors: same noise, same result.
#[test]
fn runs_on_tensors_are_the_linear_ones() {
    let all = deterministic().into_iter().map(|(sampler, family, _)| (sampler, family));
    let noisy = stochastic().into_iter().map(|(sampler, _)| (sampler, Family::VariancePreserving));
    for (sampler, family) in all.chain(noisy) {
        for end in [None, Some(NoisePoint::DATA)] {
            let mut points = points(family, 12, 3.0);
            points.extend(end);
            let plan = plan(&*sampler, points);
            let scale = match family {
                Family::VariancePreserving => 1.0,
                _ => plan.points()[0].level.noise(),
            };
            let linear = run(&plan, vec![0.0, scale]);
            let shape = [2, 1, 3];
            let mut noise = SampleNoise::new(4, 0..2);
            let mut expected = vec![linear[0]; 6];
            for factor in &linear[1..] {
                let drawn = values::<3>(noise.normal(shape, &device()));
                expected.iter_mut().zip(drawn).for_each(|(e, n)| *e += factor * f64::from(n));
            }
            let denoise = |input: latent_text_diffusion::DenoiserInput| -> Tensor<3> {
                let (offset, gain) = best_denoiser(input.level);
                input.z * gain + offset
            };
            let mut noise = SampleNoise::new(4, 0..2);
            let go_on = |_: latent_text_diffusion::StepReport<'_>| ControlFlow::Continue(());
            let z = sample(&plan, shape, &mut noise, &device(), denoise, go_on).unwrap();
            for (value, expected) in values(z).into_iter().zip(expected) {
                let difference = (f64::from(value) - expected).abs();
                assert!(difference < 1e-4, "{value} {expected} {family:?} {sampler:?}");
            }
        }
    }
}
