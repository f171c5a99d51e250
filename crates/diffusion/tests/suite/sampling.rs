use std::ops::ControlFlow;
use std::sync::Arc;

use burn::tensor::Tensor;
use latent_text_diffusion::guidance::ClassifierFree;
use latent_text_diffusion::sampler::{Ddim, DdimInversion, Pass, Stages, Update, finish};
use latent_text_diffusion::schedule::{BetaLinear, Sigmoid, SimpleLinear};
use latent_text_diffusion::{
    DenoiserInput, DiffusionError, NoisePoint, NoiseSchedule, NoiseScheduleConfig, Prediction,
    SampleNoise, Sampler, SamplerKind, SamplerPlan, ScheduleKind, Spacing, StepReport,
    rescale_norm, sample, sample_guided,
};

use crate::support::{Replay, assert_close, device, normal, values};

const SHAPE: [usize; 3] = [2, 3, 4];

fn schedule() -> NoiseSchedule {
    NoiseScheduleConfig::default().init().unwrap()
}

fn plan(sampler: SamplerKind, prediction: Prediction, steps: usize) -> SamplerPlan {
    SamplerPlan::new(&schedule(), sampler, prediction, steps).unwrap()
}

/// Some function of all that a network sees.
fn network(input: DenoiserInput) -> Tensor<3> {
    let alpha = input.alpha.reshape([SHAPE[0], 1, 1]);
    let z = (input.z * 0.8 + alpha).tanh();
    match input.self_cond {
        None => z,
        Some(estimate) => z + estimate * 0.3,
    }
}

fn go_on(_: StepReport<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// `a x + b y` on the host.
fn combine(a: f64, x: &[f32], b: f64, y: &[f32]) -> Vec<f32> {
    let pairs = x.iter().zip(y);
    pairs.map(|(&x, &y)| (a * f64::from(x) + b * f64::from(y)) as f32).collect()
}

#[test]
fn a_ddpm_step_is_the_formula_of_the_paper() {
    for step in 1..5 {
        let plan = plan(SamplerKind::Ddpm, Prediction::Eps, 6);
        let (z, eps, n) = (normal(1, SHAPE), normal(2, SHAPE), normal(3, SHAPE));
        let mut noise = Replay::new(vec![n.clone(); step + 1]);
        let mut state = plan.start(z, &mut noise);
        for _ in 0..step {
            state = plan.step(state, eps.clone(), &mut noise).unwrap();
        }
        let before = values(state.z().clone());
        let after = values(plan.step(state, eps.clone(), &mut noise).unwrap().into_z());

        let a = schedule().alpha(1.0 - step as f64 / 6.0);
        let r = a / schedule().alpha(1.0 - (step + 1) as f64 / 6.0);
        let mean = combine(
            1.0 / r.sqrt(),
            &before,
            -(1.0 - r) / (1.0 - a).sqrt() / r.sqrt(),
            &values(eps),
        );
        let expected = combine(1.0, &mean, (1.0 - r).sqrt(), &values(n));
        assert_close(&after, &expected, 1e-4);
    }
}

#[test]
fn a_ddim_step_is_the_formula_of_the_paper() {
    let plan = plan(SamplerKind::Ddim, Prediction::V, 6);
    let (z, v) = (normal(1, SHAPE), normal(2, SHAPE));
    let mut none = Replay::new(vec![]);
    let start = plan.start(z.clone(), &mut none);
    let after = plan.step(start, v.clone(), &mut none).unwrap();

    let [from, to] = [plan.points()[0].level, plan.points()[1].level];
    let (z, v) = (values(z), values(v));
    let x0 = combine(from.signal(), &z, -from.noise(), &v);
    let eps = combine(from.noise(), &z, from.signal(), &v);
    assert_close(&values(after.x0().unwrap().clone()), &x0, 1e-6);
    let expected = combine(to.signal(), &x0, to.noise(), &eps);
    assert_close(&values(after.into_z()), &expected, 1e-6);
}

#[test]
fn times_are_uniform() {
    let plan = plan(SamplerKind::Ddim, Prediction::V, 4);
    let at = |time| NoisePoint { time, level: schedule().level(time) };
    assert_eq!(plan.points(), [at(1.0), at(0.75), at(0.5), at(0.25), NoisePoint::DATA]);
    assert_eq!(plan.steps(), 4);
}

#[test]
fn the_network_sees_the_level_and_the_estimate_of_the_step_before() {
    for sampler in [SamplerKind::Ddpm, SamplerKind::Ddim] {
        let plan = plan(sampler, Prediction::V, 5);
        let mut seen = Vec::new();
        let mut reported = Vec::new();
        let latents = sample(
            &plan,
            SHAPE,
            &mut SampleNoise::new(3, 0..2),
            &device(),
            |input| {
                seen.push((values(input.alpha.clone()), input.self_cond.clone().map(values)));
                network(input)
            },
            |report| {
                assert_eq!((report.step, report.steps), (reported.len() + 1, 5));
                reported.push((report.alpha, values(report.x0.clone())));
                ControlFlow::Continue(())
            },
        );

        assert_eq!((seen.len(), reported.len()), (5, 5));
        assert_eq!(seen[0].1, None);
        for step in 0..5 {
            let alpha = plan.points()[step].level.alpha();
            assert_eq!(seen[step].0, [alpha as f32; 2]);
            assert_eq!(reported[step].0, alpha);
            if step > 0 {
                assert_eq!(seen[step].1.as_ref(), Some(&reported[step - 1].1));
            }
        }
        assert_eq!(values(latents.unwrap()), reported[4].1, "the last estimate is the result");
    }
}

#[test]
fn noise_is_drawn_once_at_the_start_and_between_the_steps_of_ddpm() {
    for (sampler, draws) in [(SamplerKind::Ddpm, 6), (SamplerKind::Ddim, 1)] {
        let mut noise = Replay::new((0..draws).map(|seed| normal(seed, SHAPE)).collect());
        let plan = plan(sampler, Prediction::V, 6);
        sample(&plan, SHAPE, &mut noise, &device(), network, go_on).unwrap();
        assert_eq!(noise.left(), 0);
    }
}

#[test]
fn a_sample_does_not_depend_on_its_batch() {
    let plan = plan(SamplerKind::Ddpm, Prediction::V, 6);
    let network = |input: DenoiserInput| input.z.tanh();
    let run = |samples: std::ops::Range<u64>| {
        let shape = [samples.clone().count(), 3, 4];
        let mut noise = SampleNoise::new(11, samples);
        values(sample(&plan, shape, &mut noise, &device(), network, go_on).unwrap())
    };
    let all = run(0..6);
    assert_close(&run(2..4), &all[2 * 12..4 * 12], 1e-6);
}

#[test]
fn inversion_finds_the_noise_that_ddim_made_the_data_of() {
    // The best v for data of mean 0 and variance 0.36: a eps - s x0 with x0 = a 0.36 z / total and
    // eps = s z / total.
    let network = |input: DenoiserInput| {
        let (a, s) = (input.level.signal(), input.level.noise());
        input.z * (a * s * (1.0 - 0.36) / (a * a * 0.36 + s * s))
    };
    let plan_of = |sampler: Arc<dyn Sampler>| {
        let spacing = Spacing::Uniform;
        SamplerPlan::with_sampler(&schedule(), sampler, Prediction::V, &spacing, 400).unwrap()
    };
    let mut none = Replay::new(vec![]);
    let run = |plan: &SamplerPlan, z: Tensor<3>, none: &mut Replay| {
        let state = plan.start(z, none);
        finish(plan, state, none, network, go_on).unwrap().into_z()
    };
    let data = normal(1, SHAPE) * 0.6;
    let noise = run(&plan_of(Arc::new(DdimInversion {})), data.clone(), &mut none);
    assert_close(&values(noise.clone()), &values(data.clone() / 0.6), 0.05);
    let again = run(&plan_of(Arc::new(Ddim::default())), noise, &mut none);
    assert_close(&values(again), &values(data), 0.02);

    let sampler = Arc::new(DdimInversion {});
    let spacing = Spacing::Uniform;
    let plan = SamplerPlan::with_sampler(&schedule(), sampler, Prediction::X0, &spacing, 4);
    assert_eq!(plan.unwrap_err(), DiffusionError::NoiseFromData);
}

#[test]
fn a_run_can_be_continued_from_a_copy_of_its_state() {
    let plan = plan(SamplerKind::Ddim, Prediction::V, 6);
    let mut noise = Replay::new(vec![]);
    let mut advance = |state| {
        let input = plan.denoiser_input(&state)?;
        plan.step(state, network(input), &mut noise).ok()
    };
    let mut state = plan.start(normal(1, SHAPE), &mut Replay::new(vec![]));
    for _ in 0..3 {
        state = advance(state).unwrap();
    }
    let mut finish = |mut state: latent_text_diffusion::SamplerState| {
        while state.step() < 6 {
            state = advance(state).unwrap();
        }
        assert!(plan.denoiser_input(&state).is_none());
        values(state.into_z())
    };
    assert_eq!(finish(state.clone()), finish(state));
}

#[test]
fn the_callback_stops_a_run() {
    let plan = plan(SamplerKind::Ddpm, Prediction::V, 6);
    let stop_at = |stop: usize| {
        let mut noise = SampleNoise::new(0, 0..2);
        sample(&plan, SHAPE, &mut noise, &device(), network, |report| match report.step == stop {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
    };
    assert_eq!(stop_at(3).unwrap_err(), DiffusionError::Stopped { step: 3, steps: 6 });
    assert!(stop_at(6).is_ok(), "nothing is left to stop after the last step");
}

#[test]
fn rescaled_estimates_change_x0_and_eps() {
    let plan = plan(SamplerKind::Ddim, Prediction::V, 6).rescale_x0(true);
    let (z, v) = (normal(1, SHAPE), normal(2, SHAPE));
    let [from, to] = [plan.points()[0].level, plan.points()[1].level];
    let raw = Prediction::V.to_x0(z.clone(), from, v.clone());
    let mut none = Replay::new(vec![]);
    let start = plan.start(z.clone(), &mut none);
    let after = plan.step(start, v, &mut none).unwrap();

    let x0 = values(rescale_norm(raw));
    assert_close(&values(after.x0().unwrap().clone()), &x0, 1e-6);
    let eps = combine(1.0 / from.noise(), &values(z), -from.signal() / from.noise(), &x0);
    let expected = combine(to.signal(), &x0, to.noise(), &eps);
    assert_close(&values(after.into_z()), &expected, 1e-5);

    let mut noise = SampleNoise::new(0, 0..2);
    let latents = sample(&plan, SHAPE, &mut noise, &device(), network, go_on).unwrap();
    for vector in values(latents).chunks(4) {
        let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        assert!((norm - 2.0).abs() < 1e-5);
    }
}

/// Every sampler that has a way through a variance-preserving process.
fn samplers() -> impl Iterator<Item = SamplerKind> {
    SamplerKind::ALL.iter().copied().filter(|&kind| kind != SamplerKind::FlowHeun)
}

#[test]
fn short_and_long_plans_stay_finite_or_are_refused() {
    let kinds = [
        ScheduleKind::default(),
        ScheduleKind::SimpleLinear(SimpleLinear {}),
        ScheduleKind::BetaLinear(BetaLinear {}),
        ScheduleKind::Sigmoid(Sigmoid::default()),
    ];
    let predictions = [Prediction::X0, Prediction::Eps, Prediction::V, Prediction::Velocity];
    for kind in kinds {
        for scale in [1e-3, 1.0, 1e3] {
            let config = NoiseScheduleConfig { kind: kind.clone(), scale };
            let schedule = config.init().unwrap();
            for sampler in samplers() {
                for prediction in predictions {
                    let long = prediction == Prediction::V && scale == 1.0;
                    for steps in [Some(1), Some(2), long.then_some(2000)].into_iter().flatten() {
                        let plan = match SamplerPlan::new(&schedule, sampler, prediction, steps) {
                            Ok(plan) => plan,
                            Err(error) => {
                                assert_eq!((sampler, steps), (SamplerKind::DpmppAsReference, 1));
                                assert!(matches!(error, DiffusionError::Setting { .. }), "{error}");
                                continue;
                            }
                        };
                        let mut noise = SampleNoise::new(5, 0..2);
                        let latents =
                            sample(&plan, SHAPE, &mut noise, &device(), network, go_on).unwrap();
                        let finite = values(latents).iter().all(|x| x.is_finite());
                        assert!(finite, "{kind:?} {scale} {sampler} {prediction:?} {steps}");
                    }
                }
            }
        }
    }
}

/// The cosine's log-SNR is clamped at its ends, where very short steps change nothing.
#[test]
fn steps_without_less_noise_are_refused() {
    let plan = SamplerPlan::new(&schedule(), SamplerKind::Ddim, Prediction::V, 10_000);
    let error = plan.unwrap_err();
    assert!(matches!(error, DiffusionError::RepeatedNoise { .. }), "{error}");

    let points = [0.5, 0.7, 0.0].map(|time| NoisePoint { time, level: schedule().level(time) });
    let error = SamplerPlan::from_points(points.to_vec(), &Ddim::default(), Prediction::V);
    assert!(matches!(error, Err(DiffusionError::PointOrder { index: 1, .. })), "{error:?}");
}

/// Adams and Bashforth's method of the second order over `ln sigma`, which needs the estimate before.
#[derive(Debug)]
struct TwoEstimates;

impl Sampler for TwoEstimates {
    fn stages(&self, points: &[NoisePoint]) -> Result<Stages, DiffusionError> {
        Stages::one_call_a_step(points, |step, _, to| {
            let (signal, noise) = (to.level.signal(), to.level.noise());
            let x0 = match step {
                0 => vec![signal],
                _ => vec![1.5 * signal, -0.5 * signal],
            };
            Ok(Update { x0, eps: vec![noise], ..Update::default() })
        })
    }
}

#[test]
fn a_sampler_from_outside_gets_the_estimate_of_the_call_before() {
    let sampler = Arc::new(TwoEstimates);
    let plan = SamplerPlan::with_sampler(&schedule(), sampler, Prediction::V, &Spacing::Uniform, 5);
    let (plan, mut none) = (plan.unwrap(), Replay::new(vec![]));
    let mut state = plan.start(normal(1, SHAPE), &mut none);
    for step in 0..5 {
        let input = plan.denoiser_input(&state).unwrap();
        let before = state.x0().cloned().map(values);
        let output = network(input.clone());
        let x0 = values(Prediction::V.to_x0(input.z.clone(), input.level, output.clone()));
        let eps = values(Prediction::V.to_eps(input.z, input.level, output.clone()));
        state = plan.step(state, output, &mut none).unwrap();

        let to = plan.points()[step + 1].level;
        let mixed = match before {
            None => x0,
            Some(before) => combine(1.5, &x0, -0.5, &before),
        };
        let expected = combine(to.signal(), &mixed, to.noise(), &eps);
        assert_close(&values(state.z().clone()), &expected, 1e-5);
    }
}

/// The condition moves the estimate by a constant, which a scale of 3 makes three times as large.
#[test]
fn a_guided_run_combines_both_predictions() {
    let plan = plan(SamplerKind::Dpmpp2m, Prediction::X0, 6);
    let run = |scale: f64, shift: f64| {
        let mut passes = vec![];
        let latents = sample_guided(
            &plan,
            SHAPE,
            &mut SampleNoise::new(7, 0..2),
            &device(),
            &ClassifierFree { scale },
            |input, pass| {
                passes.push(pass);
                let x0 = input.z * 0.5;
                if pass == Pass::Conditional { x0 + shift } else { x0 }
            },
            go_on,
        );
        (values(latents.unwrap()), passes)
    };
    let (guided, passes) = run(3.0, 0.1);
    assert_eq!(passes, [Pass::Unconditional, Pass::Conditional].repeat(6));
    let (plain, passes) = run(1.0, 0.3);
    assert_eq!(passes, [Pass::Conditional; 6], "a scale of 1 needs no second pass");
    assert_close(&guided, &plain, 1e-5);

    let mut noise = SampleNoise::new(7, 0..2);
    let scale = f64::NAN;
    let network = |input: DenoiserInput, _| input.z;
    let guidance = ClassifierFree { scale };
    let error = sample_guided(&plan, SHAPE, &mut noise, &device(), &guidance, network, go_on);
    assert!(matches!(error, Err(DiffusionError::Setting { .. })), "{error:?}");
}

#[test]
fn unusable_settings_are_errors() {
    let none = SamplerPlan::new(&schedule(), SamplerKind::Ddim, Prediction::V, 0);
    assert_eq!(none.unwrap_err(), DiffusionError::NoSteps);

    let plan = plan(SamplerKind::Ddim, Prediction::V, 2);
    let mut noise = SampleNoise::new(0, 0..0);
    let empty = sample(&plan, [0, 3, 4], &mut noise, &device(), network, go_on);
    assert_eq!(empty.unwrap_err(), DiffusionError::EmptyShape { shape: vec![0, 3, 4] });
}

#[test]
fn an_output_of_another_shape_is_an_error() {
    let plan = plan(SamplerKind::Ddim, Prediction::V, 2);
    let mut none = Replay::new(vec![]);
    let start = plan.start(normal(1, SHAPE), &mut none);
    let error = plan.step(start, normal(1, [1, 3, 4]), &mut none).unwrap_err();
    let (expected, found) = (SHAPE.to_vec(), vec![1, 3, 4]);
    assert_eq!(error, DiffusionError::OutputShape { expected, found });
}

#[test]
fn samplers_have_names() {
    for &kind in SamplerKind::ALL {
        assert_eq!(kind.to_string().parse::<SamplerKind>().unwrap(), kind);
        assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
    }
    let error = "runge".parse::<SamplerKind>().unwrap_err().to_string();
    assert!(error.starts_with("there is no sampler `runge`; choose one of: ddpm, "), "{error}");
}
