//! Guidance and corrections of `x0`, against the guiders of `diffusers` and against closed forms.

use std::path::PathBuf;

use burn::tensor::{DType, Distribution, FloatDType, Tensor};
use latent_text_diffusion::guidance::{
    AdaptiveProjected, Autoguidance, ClassifierFree, Guidance, GuidanceConfig, GuidanceContext,
    GuidancePair, GuidanceState, Interval, NoiseInterval, Rescaled, ScoreGradient, ZeroStar,
};
use latent_text_diffusion::{
    DiffusionError, Family, NoiseLevel, Prediction, X0Correction, rescale_norm,
};
use safetensors::SafeTensors;

use crate::support::{assert_close, device, normal, supports, tensor, values};

const SHAPE: [usize; 3] = [3, 4, 5];
const PREDICTIONS: [Prediction; 5] = [
    Prediction::X0,
    Prediction::Eps,
    Prediction::V,
    Prediction::Velocity,
    Prediction::Edm { sigma_data: 0.7 },
];
const FAMILIES: [Family; 3] =
    [Family::VariancePreserving, Family::VarianceExploding, Family::RectifiedFlow];

fn fixture(name: &str) -> Tensor<3> {
    let folder = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap());
    let bytes = std::fs::read(folder.join("tests/fixtures/guidance.safetensors")).unwrap();
    let bytes = SafeTensors::deserialize(&bytes).unwrap().tensor(name).unwrap().data().to_vec();
    let read = |b: &[u8]| f32::from_le_bytes(b.try_into().unwrap());
    tensor(bytes.chunks_exact(4).map(read).collect(), SHAPE)
}

fn pair<const D: usize>(conditional: &Tensor<D>, unconditional: &Tensor<D>) -> GuidancePair<D> {
    GuidancePair { conditional: conditional.clone(), unconditional: Some(unconditional.clone()) }
}

fn at<const D: usize>(
    level: NoiseLevel,
    z: &Tensor<D>,
    prediction: Prediction,
) -> GuidanceContext<D> {
    GuidanceContext { level, z: z.clone(), prediction, step: 5, steps: 10 }
}

fn level(log_snr: f64) -> NoiseLevel {
    NoiseLevel::from_log_snr(log_snr)
}

/// One step from the start of a run.
fn guided<const D: usize>(
    guidance: &dyn Guidance<D>,
    predictions: GuidancePair<D>,
    at: &GuidanceContext<D>,
) -> Vec<f32> {
    values(guidance.combine(predictions, at, GuidanceState::default()).unwrap().0)
}

/// Two random predictions and a `z`.
fn inputs() -> [Tensor<3>; 3] {
    [normal(1, SHAPE), normal(2, SHAPE), normal(3, SHAPE)]
}

fn classifier_free(scale: f64) -> Box<GuidanceConfig> {
    Box::new(GuidanceConfig::ClassifierFree { scale })
}

fn projected(scale: f64) -> GuidanceConfig {
    let (eta, norm_threshold, momentum) = (0.25, Some(2.0), -0.5);
    GuidanceConfig::AdaptiveProjected { scale, eta, norm_threshold, momentum }
}

/// One of every kind, with this scale.
fn all_kinds(scale: f64) -> Vec<GuidanceConfig> {
    let levels = NoiseInterval::Sigma { above: Some(0.1), up_to: Some(10.0) };
    vec![
        GuidanceConfig::ClassifierFree { scale },
        GuidanceConfig::Autoguidance { scale },
        projected(scale),
        GuidanceConfig::ZeroStar { scale, zero_steps: 1 },
        GuidanceConfig::Rescaled { phi: 0.7, inner: classifier_free(scale) },
        GuidanceConfig::Interval { levels, inner: Box::new(projected(scale)) },
    ]
}

#[test]
fn results_equal_those_of_diffusers() {
    const SCALE: f64 = 3.5;
    let kinds = [
        ("classifier_free", GuidanceConfig::ClassifierFree { scale: SCALE }),
        ("auto", GuidanceConfig::Autoguidance { scale: SCALE }),
        ("rescaled", GuidanceConfig::Rescaled { phi: 0.7, inner: classifier_free(SCALE) }),
        ("zero_star", GuidanceConfig::ZeroStar { scale: SCALE, zero_steps: 1 }),
        (
            "projected",
            GuidanceConfig::AdaptiveProjected {
                scale: SCALE,
                eta: 0.25,
                norm_threshold: Some(6.2),
                momentum: -0.5,
            },
        ),
    ];
    for (name, config) in kinds {
        // diffusers projects the outputs as they are, so they have to be estimates of x0.
        let prediction = match name {
            "projected" => Prediction::X0,
            _ => Prediction::Velocity,
        };
        let guidance = config.init::<3>().unwrap();
        let mut state = GuidanceState::default();
        for step in 0..2 {
            let predictions = pair(
                &fixture(&format!("conditional.{step}")),
                &fixture(&format!("unconditional.{step}")),
            );
            let z = normal(9, SHAPE);
            let at = GuidanceContext { level: level(0.3), z, prediction, step, steps: 2 };
            let (output, next) = guidance.combine(predictions, &at, state).unwrap();
            state = next;
            let expected = values(fixture(&format!("{name}.{step}")));
            assert_close(&values(output), &expected, 1e-5);
        }
    }
}

#[test]
fn classifier_free_is_the_weighted_sum() {
    let [conditional, unconditional, z] = inputs();
    let at = at(level(0.3), &z, Prediction::V);
    for scale in [-1.0, 0.0, 0.5, 2.0, 7.5] {
        let expected: Vec<f32> = values(conditional.clone())
            .into_iter()
            .zip(values(unconditional.clone()))
            .map(|(c, u)| (scale * f64::from(c) + (1.0 - scale) * f64::from(u)) as f32)
            .collect();
        let predictions = || pair(&conditional, &unconditional);
        let output = guided(&ClassifierFree { scale }, predictions(), &at);
        assert_close(&output, &expected, 2e-6);
        assert_eq!(guided(&Autoguidance { scale }, predictions(), &at), output);
    }
}

#[test]
fn scale_1_is_the_conditional_prediction_and_needs_no_other() {
    let [conditional, _, z] = inputs();
    let at = at(level(0.3), &z, Prediction::V);
    for config in all_kinds(1.0) {
        let guidance = config.init::<3>().unwrap();
        assert!(!guidance.needs_unconditional(at.level, at.step), "{config:?}");
        let alone = GuidancePair { conditional: conditional.clone(), unconditional: None };
        let output = guided(&*guidance, alone, &at);
        // To be rescaled to its own deviation rounds.
        let tolerance = if matches!(config, GuidanceConfig::Rescaled { .. }) { 1e-6 } else { 0.0 };
        assert_close(&output, &values(conditional.clone()), tolerance);
    }
}

#[test]
fn guidance_acts_inside_its_interval_only() {
    let [conditional, unconditional, z] = inputs();
    let inner = ClassifierFree { scale: 3.0 };
    let sigma = NoiseInterval::Sigma { above: Some(0.5), up_to: Some(2.0) };
    // sigma = exp(-log_snr / 2)
    let log_snr = NoiseInterval::LogSnr { from: Some(-1.3), below: Some(1.3) };
    let only_below = NoiseInterval::LogSnr { from: None, below: Some(1.3) };
    let everywhere = NoiseInterval::Sigma { above: None, up_to: None };
    let inside = |interval: NoiseInterval, log_snr: f64| {
        let guidance = Interval { inner, levels: interval };
        let at = at(level(log_snr), &z, Prediction::V);
        let needed = Guidance::<3>::needs_unconditional(&guidance, at.level, at.step);
        let predictions = match needed {
            true => pair(&conditional, &unconditional),
            false => GuidancePair { conditional: conditional.clone(), unconditional: None },
        };
        let expected = match needed {
            true => guided(&inner, predictions.clone(), &at),
            false => values(conditional.clone()),
        };
        assert_eq!(guided(&guidance, predictions, &at), expected);
        needed
    };
    for interval in [sigma, log_snr] {
        let found = [-2.0, -1.4, -1.2, 0.0, 1.2, 1.4, 2.0].map(|x| inside(interval, x));
        let outside_sigma = interval == sigma;
        // 2 ln 2 = 1.386
        assert_eq!(found, [false, false, true, true, true, false, false], "{outside_sigma}");
    }
    assert!(inside(log_snr, -1.3) && !inside(log_snr, 1.3));
    let lowest = level(-2.0 * 2.0_f64.ln());
    assert!(sigma.contains(NoiseLevel::new(Family::VarianceExploding, lowest.log_snr())));
    assert!(!sigma.contains(level(f64::NEG_INFINITY)) && !sigma.contains(NoiseLevel::DATA));
    assert!(only_below.contains(level(f64::NEG_INFINITY)) && inside(only_below, -50.0));
    assert!(everywhere.contains(NoiseLevel::DATA));
}

#[test]
fn the_interval_leaves_the_state_alone_outside() {
    let [conditional, unconditional, z] = inputs();
    let levels = NoiseInterval::Sigma { above: Some(0.5), up_to: None };
    let guidance = GuidanceConfig::Interval { levels, inner: Box::new(projected(2.0)) };
    let guidance = guidance.init::<3>().unwrap();
    let step = |log_snr: f64, state| {
        let at = at(level(log_snr), &z, Prediction::V);
        guidance.combine(pair(&conditional, &unconditional), &at, state).unwrap().1
    };
    let started = step(0.0, GuidanceState::default());
    let momentum = values(started.running.clone().unwrap());
    assert_eq!(values(step(5.0, started.clone()).running.unwrap()), momentum);
    assert_ne!(values(step(0.0, started).running.unwrap()), momentum);
}

#[test]
fn phi_0_changes_nothing_and_phi_1_restores_the_deviation() {
    let [conditional, unconditional, z] = inputs();
    let at = at(level(0.3), &z, Prediction::V);
    let inner = ClassifierFree { scale: 6.0 };
    let predictions = || pair(&conditional, &unconditional);
    let unscaled = guided(&Rescaled { inner, phi: 0.0 }, predictions(), &at);
    assert_eq!(unscaled, guided(&inner, predictions(), &at));

    let rescaled = guided(&Rescaled { inner, phi: 1.0 }, predictions(), &at);
    let conditional = values(conditional.clone());
    for (rescaled, conditional) in rescaled.chunks(20).zip(conditional.chunks(20)) {
        assert!((deviation(rescaled) / deviation(conditional) - 1.0).abs() < 1e-5);
    }
}

fn deviation(x: &[f32]) -> f64 {
    let count = x.len() as f64;
    let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
    (x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count).sqrt()
}

#[test]
fn projected_guidance_without_its_changes_is_classifier_free() {
    let [conditional, unconditional, z] = inputs();
    let plain = AdaptiveProjected { scale: 4.0, eta: 1.0, norm_threshold: None, momentum: 0.0 };
    for family in FAMILIES {
        for prediction in PREDICTIONS {
            for log_snr in [-12.0, -3.0, 0.3, 6.0, 12.0] {
                let at = at(NoiseLevel::new(family, log_snr), &z, prediction);
                let predictions = || pair(&conditional, &unconditional);
                let output = guided(&plain, predictions(), &at);
                let expected = guided(&ClassifierFree { scale: 4.0 }, predictions(), &at);
                assert_close(&output, &expected, 1e-5);
            }
        }
    }
}

/// Algorithm 1 of the paper in f64, with a network that predicts `v`, over two steps.
#[test]
fn projected_guidance_works_on_estimates_of_x0() {
    let (scale, eta, threshold, momentum) = (4.0, 0.3, 3.0, -0.6);
    let guidance = AdaptiveProjected { scale, eta, norm_threshold: Some(threshold), momentum };
    let mut state = GuidanceState::default();
    let mut running = [0.0_f64; 60];
    for (step, log_snr) in [-0.7, 0.4].into_iter().enumerate() {
        let level = level(log_snr);
        let (a, s) = (level.signal(), level.noise());
        let seed = 10 * step as u64;
        let [conditional, unconditional, z] = [1, 2, 3].map(|i| normal(seed + i, SHAPE));
        let at = GuidanceContext { step, ..at(level, &z, Prediction::V) };
        let (output, next) =
            guidance.combine(pair(&conditional, &unconditional), &at, state).unwrap();
        state = next;

        let [c, u, z] = [conditional, unconditional, z].map(values);
        let x0 = |v: &[f32], i: usize| a * f64::from(z[i]) - s * f64::from(v[i]);
        for (i, running) in running.iter_mut().enumerate() {
            *running = x0(&c, i) - x0(&u, i) + momentum * *running;
        }
        let mut expected = vec![];
        for sample in 0..3 {
            let range = 20 * sample..20 * (sample + 1);
            let norm = range.clone().map(|i| running[i].powi(2)).sum::<f64>().sqrt();
            let shorten = (threshold / norm).min(1.0);
            let square = range.clone().map(|i| x0(&c, i).powi(2)).sum::<f64>();
            let along = range.clone().map(|i| running[i] * x0(&c, i)).sum::<f64>() / square;
            for i in range {
                let parallel = along * x0(&c, i);
                let update = shorten * (running[i] - parallel + eta * parallel);
                let x0 = x0(&c, i) + (scale - 1.0) * update;
                let eps = (f64::from(z[i]) - a * x0) / s;
                expected.push((a * eps - s * x0) as f32);
            }
        }
        assert_close(&values(output), &expected, 1e-5);
    }
}

#[test]
fn zero_star_predicts_zero_first_and_skips_the_second_pass() {
    let [conditional, unconditional, z] = inputs();
    let guidance = ZeroStar { scale: 3.0, zero_steps: 2 };
    for (step, zero) in [(0, true), (1, true), (2, false)] {
        let at = GuidanceContext { step, ..at(level(-3.0), &z, Prediction::V) };
        assert_eq!(Guidance::<3>::needs_unconditional(&guidance, at.level, step), !zero);
        let second = (!zero).then(|| unconditional.clone());
        let predictions = GuidancePair { conditional: conditional.clone(), unconditional: second };
        let output = guided(&guidance, predictions, &at);
        assert_eq!(output.iter().all(|&x| x == 0.0), zero);
    }
    // If both predictions point the same way, nothing is left to extrapolate.
    let at = at(level(0.0), &z, Prediction::V);
    let output = guided(&guidance, pair(&conditional, &(conditional.clone() * -0.4)), &at);
    assert_close(&output, &values(conditional), 1e-5);
}

/// Scalar data `N(m, c^2)`, seen through `y = x0 + N(0, r^2)`. Prior and posterior are normal, so
/// their exact predictions and `d ln p(y | z) / dz` are known: guiding the one by the gradient must
/// give the other, whatever is predicted.
#[test]
fn gradient_guidance_of_normal_data_is_the_posterior() {
    let (m, c2, y, r2) = (0.7_f64, 0.5_f64, -0.4_f64, 0.3_f64);
    let posterior_c2 = c2 * r2 / (c2 + r2);
    let posterior_m = (m * r2 + y * c2) / (c2 + r2);
    let points = [-2.0, -0.5, 0.0, 0.3, 1.7];
    for family in FAMILIES {
        for log_snr in [-10.0, -3.0, -0.5, 0.0, 2.0, 6.0] {
            let level = NoiseLevel::new(family, log_snr);
            let (a, s) = (level.signal(), level.noise());
            let z: Tensor<2> = Tensor::from_data([points], &device()) * a.hypot(s);
            let mean_of = |m: f64, c2: f64| {
                let gain = a * c2 / (a * a * c2 + s * s);
                (z.clone() - a * m) * gain + m
            };
            let gradient = |at: &GuidanceContext<2>| {
                let gain = a * c2 / (a * a * c2 + s * s);
                let variance = c2 * s * s / (a * a * c2 + s * s);
                let mean = (at.z.clone() - a * m) * gain + m;
                (mean - y) * (-gain / (variance + r2))
            };
            for prediction in PREDICTIONS {
                let output = |m, c2| {
                    let eps = (z.clone() - a * m) * (s / (a * a * c2 + s * s));
                    prediction.target(mean_of(m, c2), eps, level)
                };
                let inner = ClassifierFree { scale: 1.0 };
                let guidance = ScoreGradient { inner, weight: 1.0, gradient };
                let alone = GuidancePair { conditional: output(m, c2), unconditional: None };
                let result = guided(&guidance, alone, &at(level, &z, prediction));
                let expected = values(output(posterior_m, posterior_c2));
                assert_close(&result, &expected, 2e-5);
            }
        }
    }
}

#[test]
fn gradients_count_in_proportion_and_not_at_pure_noise() {
    let [conditional, unconditional, z] = inputs();
    let inner = ClassifierFree { scale: 2.0 };
    let gradient = |at: &GuidanceContext<3>| at.z.clone().neg();
    let run = |weight, log_snr, prediction| {
        let guidance = ScoreGradient { inner, weight, gradient };
        guided(&guidance, pair(&conditional, &unconditional), &at(level(log_snr), &z, prediction))
    };
    let change = |weight| -> Vec<f32> {
        let without = run(0.0, 0.5, Prediction::Eps);
        run(weight, 0.5, Prediction::Eps).iter().zip(without).map(|(a, b)| a - b).collect()
    };
    let expected: Vec<f32> =
        values(z.clone()).iter().map(|z| 3.0 * z * level(0.5).noise() as f32).collect();
    assert_close(&change(3.0), &expected, 5e-6);

    for prediction in PREDICTIONS {
        for log_snr in [f64::NEG_INFINITY, -2000.0] {
            let plain = guided(
                &inner,
                pair(&conditional, &unconditional),
                &at(level(log_snr), &z, prediction),
            );
            assert_eq!(run(1.0, log_snr, prediction), plain);
        }
        assert!(run(1.0, f64::INFINITY, prediction).iter().all(|x| x.is_finite()));
    }
}

#[test]
fn samples_of_a_batch_do_not_influence_each_other() {
    let [conditional, unconditional, z] = inputs();
    for config in all_kinds(3.0) {
        let guidance = config.init::<3>().unwrap();
        let two_steps = |rows: std::ops::Range<usize>| {
            let rows = |x: &Tensor<3>| x.clone().slice([rows.clone()]);
            let at = at(level(0.3), &rows(&z), Prediction::V);
            let predictions = || pair(&rows(&conditional), &rows(&unconditional));
            let state = GuidanceState::default();
            let (_, state) = guidance.combine(predictions(), &at, state).unwrap();
            values(guidance.combine(predictions(), &at, state).unwrap().0)
        };
        let together = two_steps(0..3);
        for sample in 0..3 {
            let alone = two_steps(sample..sample + 1);
            assert_close(&alone, &together[20 * sample..20 * (sample + 1)], 1e-6);
        }
    }
}

#[test]
fn degenerate_predictions_stay_finite() {
    let [conditional, _, z] = inputs();
    let zero = conditional.zeros_like();
    let predictions = [(&zero, &zero), (&conditional, &zero), (&zero, &conditional)];
    for config in all_kinds(3.0) {
        for prediction in PREDICTIONS.into_iter().skip(1) {
            for log_snr in [f64::NEG_INFINITY, -15.0, 0.0, 15.0, f64::INFINITY] {
                for (conditional, unconditional) in predictions {
                    let at = at(level(log_snr), &z, prediction);
                    let guidance = config.init::<3>().unwrap();
                    let output = guided(&*guidance, pair(conditional, unconditional), &at);
                    assert!(output.iter().all(|x| x.is_finite()), "{config:?} {log_snr}");
                }
            }
        }
    }
    // Noise alone has no x0, so its momentum must not reach the next steps.
    let at_noise = at(level(f64::NEG_INFINITY), &z, Prediction::Eps);
    let guidance = projected(3.0).init::<3>().unwrap();
    let (output, state) =
        guidance.combine(pair(&conditional, &zero), &at_noise, GuidanceState::default()).unwrap();
    assert_eq!(values(output), values(conditional.clone()));
    assert!(state.running.is_none());
    // The same number everywhere has no deviation to restore.
    let ones = conditional.ones_like();
    let at = at(level(0.0), &z, Prediction::V);
    let rescaled = Rescaled { inner: ClassifierFree { scale: 3.0 }, phi: 1.0 };
    assert_close(&guided(&rescaled, pair(&ones, &zero), &at), &[3.0; 60], 1e-6);
}

#[test]
fn any_rank_and_float_type() {
    for config in all_kinds(2.5) {
        let [conditional, unconditional, z] = inputs();
        let expected = guided(
            &*config.init::<3>().unwrap(),
            pair(&conditional, &unconditional),
            &at(level(0.3), &z, Prediction::V),
        );
        let flat = |x: &Tensor<3>| x.clone().reshape([3, 20]);
        let output = guided(
            &*config.init::<2>().unwrap(),
            pair(&flat(&conditional), &flat(&unconditional)),
            &at(level(0.3), &flat(&z), Prediction::V),
        );
        assert_close(&output, &expected, 1e-6);

        if !supports(FloatDType::BF16) {
            continue;
        }
        let half = |x: &Tensor<3>| x.clone().cast(FloatDType::BF16);
        let single = |x: &Tensor<3>| half(x).cast(FloatDType::F32);
        let combine = |predictions, z: &Tensor<3>| {
            let at = at(level(0.3), z, Prediction::V);
            let guidance = config.init::<3>().unwrap();
            guidance.combine(predictions, &at, GuidanceState::default()).unwrap().0
        };
        let from_half = combine(pair(&half(&conditional), &half(&unconditional)), &half(&z));
        let from_single =
            combine(pair(&single(&conditional), &single(&unconditional)), &single(&z));
        assert_eq!(from_half.dtype(), DType::F32);
        assert_eq!(values(from_half), values(from_single));
    }
}

#[test]
fn settings_survive_json() {
    for config in all_kinds(2.5) {
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<GuidanceConfig>(&json).unwrap(), config, "{json}");
    }
    let json = r#"{
        "name": "interval",
        "levels": { "sigma": { "above": 0.28 } },
        "inner": { "name": "rescaled", "inner": { "name": "adaptive_projected", "scale": 4.0 } }
    }"#;
    let inner = GuidanceConfig::AdaptiveProjected {
        scale: 4.0,
        eta: 0.0,
        norm_threshold: None,
        momentum: 0.0,
    };
    let inner = Box::new(GuidanceConfig::Rescaled { phi: 0.7, inner: Box::new(inner) });
    let levels = NoiseInterval::Sigma { above: Some(0.28), up_to: None };
    let expected = GuidanceConfig::Interval { levels, inner };
    assert_eq!(serde_json::from_str::<GuidanceConfig>(json).unwrap(), expected);

    let misspelt = r#"{ "name": "classifier_free", "scael": 2.0 }"#;
    assert!(serde_json::from_str::<GuidanceConfig>(misspelt).is_err());
    assert!(!GuidanceConfig::default().init::<3>().unwrap().needs_unconditional(level(0.0), 0));
}

#[test]
fn settings_out_of_range_are_refused() {
    let interval = |levels| GuidanceConfig::Interval { levels, inner: classifier_free(2.0) };
    let sigma = |above, up_to| interval(NoiseInterval::Sigma { above, up_to });
    let log_snr = |from, below| interval(NoiseInterval::LogSnr { from, below });
    let apg = |eta, norm_threshold, momentum| GuidanceConfig::AdaptiveProjected {
        scale: 2.0,
        eta,
        norm_threshold,
        momentum,
    };
    let mut refused = vec![
        (sigma(Some(-0.1), None), "above"),
        (sigma(Some(f64::NAN), None), "above"),
        (sigma(None, Some(f64::INFINITY)), "up_to"),
        (sigma(None, Some(0.0)), "up_to"),
        (sigma(Some(2.0), Some(2.0)), "up_to"),
        (log_snr(Some(f64::NEG_INFINITY), None), "from"),
        (log_snr(Some(1.0), Some(-1.0)), "below"),
        (apg(f64::NAN, None, 0.0), "eta"),
        (apg(0.0, Some(0.0), 0.0), "norm_threshold"),
        (apg(0.0, Some(f64::INFINITY), 0.0), "norm_threshold"),
        (apg(0.0, None, 1.0), "momentum"),
        (apg(0.0, None, f64::NAN), "momentum"),
    ];
    for phi in [-0.1, 1.1, f64::NAN] {
        refused.push((GuidanceConfig::Rescaled { phi, inner: classifier_free(2.0) }, "phi"));
    }
    for scale in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        refused.extend(all_kinds(scale).into_iter().map(|config| (config, "scale")));
    }
    for (config, name) in refused {
        let error = config.init::<3>().unwrap_err();
        let named = matches!(error, DiffusionError::Setting { setting, .. } if setting == name);
        assert!(named, "{config:?}: {error:?}");
    }
    let error = classifier_free(f64::NAN).init::<3>().unwrap_err();
    let text = "classifier-free guidance cannot have scale = NaN: it must be a finite number";
    assert_eq!(error.to_string(), text);

    let gradient = |at: &GuidanceContext<3>| at.z.clone();
    let inner = ClassifierFree { scale: 1.0 };
    assert!(ScoreGradient { inner, weight: f64::INFINITY, gradient }.check().is_err());
    let inner = ClassifierFree { scale: f64::NAN };
    assert!(ScoreGradient { inner, weight: 1.0, gradient }.check().is_err());
}

#[test]
fn tensors_that_do_not_belong_together_are_refused() {
    let [conditional, unconditional, z] = inputs();
    let other = normal(4, [3, 4, 6]);
    let start = GuidanceState::default;
    let context = at(level(0.3), &z, Prediction::V);
    for config in all_kinds(2.0) {
        let guidance = config.init::<3>().unwrap();
        let alone = GuidancePair { conditional: conditional.clone(), unconditional: None };
        let error = guidance.combine(alone, &context, start()).unwrap_err();
        let missing = matches!(error, DiffusionError::MissingUnconditional { step: 5, .. });
        assert!(missing, "{config:?}: {error:?}");

        let error = guidance.combine(pair(&conditional, &other), &context, start()).unwrap_err();
        let DiffusionError::GuidanceShape { shape, expected, .. } = error else {
            panic!("{config:?}: {error:?}");
        };
        assert_eq!((shape, expected), (vec![3, 4, 6], vec![3, 4, 5]));
    }

    let guidance = projected(2.0).init::<3>().unwrap();
    let predictions = || pair(&conditional, &unconditional);
    let refused = |result: Result<(Tensor<3>, GuidanceState<3>), DiffusionError>, name: &str| {
        let error = result.unwrap_err();
        let named = matches!(error, DiffusionError::GuidanceShape { what, .. } if what == name);
        assert!(named, "{error:?}");
    };
    let strange = GuidanceState { running: Some(other.clone()) };
    refused(guidance.combine(predictions(), &context, strange), "the momentum");
    let elsewhere = at(level(0.3), &other, Prediction::V);
    refused(guidance.combine(predictions(), &elsewhere, start()), "z");
    let gradient = |_: &GuidanceContext<3>| other.clone();
    let inner = ClassifierFree { scale: 2.0 };
    let guidance = ScoreGradient { inner, weight: 1.0, gradient };
    refused(guidance.combine(predictions(), &context, start()), "the gradient");

    let zero_star = ZeroStar { scale: 2.0, zero_steps: 3 };
    let of_x0 = at(level(0.3), &z, Prediction::X0);
    let error = zero_star.combine(predictions(), &of_x0, start()).unwrap_err();
    assert_eq!(error, DiffusionError::ZeroX0 { zero_steps: 3 });
    let zero_star = ZeroStar { scale: 2.0, zero_steps: 0 };
    assert!(zero_star.combine(predictions(), &of_x0, start()).is_ok());
}

#[test]
fn thresholds_equal_those_of_diffusers() {
    for (name, max) in [("threshold", Some(100.0)), ("threshold_bounded", Some(2.0))] {
        let correction = X0Correction::DynamicThreshold { quantile: 0.9, limit: 1.0, max };
        let output = values(correction.apply(fixture("x0")));
        assert_close(&output, &values(fixture(name)), 1e-6);
    }
}

/// `torch.quantile` and Imagen's formula in f64, over quantiles, sizes and spreads, with values that
/// repeat and with outliers.
#[test]
fn dynamic_thresholds_follow_the_quantile() {
    let spread = |x: f64, power: i32| x.signum() * x.abs().powi(power);
    for n in [1, 2, 7, 100, 1001] {
        let samples: Vec<Vec<f32>> = (0..5)
            .map(|sample| {
                let draws = values(normal(sample, [1, 1, n]));
                let of = |x: f32| match sample {
                    0 => x,
                    1 => spread(x.into(), 9) as f32,
                    2 => (2.0 * x).round(),
                    3 => x.max(0.0),
                    _ => 1e-3 * x,
                };
                draws.into_iter().map(of).collect()
            })
            .collect();
        let x0 = tensor(samples.concat(), [5, 1, n]);
        for quantile in [0.0, 0.3, 0.5, 0.9, 0.995, 1.0] {
            for (limit, max) in [(1.0, None), (0.5, Some(0.5)), (0.01, Some(2.0)), (2.0, Some(1e6))]
            {
                let correction = X0Correction::DynamicThreshold { quantile, limit, max };
                let mut expected = vec![];
                for sample in &samples {
                    let mut sorted: Vec<f64> = sample.iter().map(|&x| x.abs().into()).collect();
                    sorted.sort_by(f64::total_cmp);
                    let position = quantile * (n - 1) as f64;
                    let below = sorted[position.floor() as usize];
                    let above = sorted[position.ceil() as usize];
                    let s = below + (above - below) * position.fract();
                    let s = s.max(limit).min(max.unwrap_or(f64::INFINITY));
                    let of = |&x: &f32| (f64::from(x).clamp(-s, s) / (s / limit)) as f32;
                    expected.extend(sample.iter().map(of));
                }
                let output = values(correction.apply(x0.clone()));
                assert_close(&output, &expected, 1e-6);
            }
        }
    }
}

#[test]
fn thresholds_of_samples_are_their_own() {
    let x0 = normal(1, SHAPE) * 3.0;
    let kinds = [
        X0Correction::NormRescale,
        X0Correction::DynamicThreshold { quantile: 0.8, limit: 1.0, max: None },
        X0Correction::Clamp { limit: 1.5 },
    ];
    for correction in kinds {
        let together = values(correction.apply(x0.clone()));
        for sample in 0..3 {
            let alone = values(correction.apply(x0.clone().narrow(0, sample, 1)));
            assert_eq!(alone, together[20 * sample..20 * (sample + 1)]);
        }
        let empty = Tensor::<3>::zeros([0, 4, 5], &device());
        assert_eq!(correction.apply(empty).dims(), [0, 4, 5]);
    }
}

#[test]
fn corrections_of_any_rank() {
    let x0 = normal(1, [2, 6, 4]);
    let expected = values(rescale_norm(x0.clone()));
    for vector in expected.chunks(4) {
        let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        assert!((norm - 2.0).abs() < 1e-5);
    }
    let flat: Tensor<2> = x0.clone().reshape([12, 4]);
    assert_eq!(values(X0Correction::NormRescale.apply(flat)), expected);
    let image: Tensor<4> = x0.clone().reshape([2, 3, 2, 4]);
    assert_eq!(values(X0Correction::NormRescale.apply(image.clone())), expected);

    let threshold = X0Correction::DynamicThreshold { quantile: 0.7, limit: 0.5, max: None };
    assert_eq!(values(threshold.apply(image)), values(threshold.apply(x0.clone())));

    let clamped = values(X0Correction::Clamp { limit: 0.4 }.apply(x0.clone()));
    let expected: Vec<f32> = values(x0).iter().map(|x| x.clamp(-0.4, 0.4)).collect();
    assert_eq!(clamped, expected);

    if !supports(FloatDType::F16) {
        return;
    }
    let half = Tensor::<2>::random([2, 3], Distribution::Default, &device()).cast(FloatDType::F16);
    assert_eq!(X0Correction::Clamp { limit: 1.0 }.apply(half).dtype(), DType::F32);
}

#[test]
fn settings_of_corrections() {
    let threshold = |quantile, limit, max| X0Correction::DynamicThreshold { quantile, limit, max };
    let accepted = [
        X0Correction::NormRescale,
        threshold(0.995, 1.0, None),
        threshold(1.0, 1.0, Some(1.0)),
        X0Correction::Clamp { limit: 3.0 },
    ];
    for correction in accepted {
        assert_eq!(correction.check(), Ok(()));
        let json = serde_json::to_string(&correction).unwrap();
        assert_eq!(serde_json::from_str::<X0Correction>(&json).unwrap(), correction, "{json}");
    }
    let json = r#"{ "name": "dynamic_threshold" }"#;
    let defaults = serde_json::from_str::<X0Correction>(json).unwrap();
    assert_eq!(defaults, threshold(0.995, 1.0, None));
    let unknown = r#"{ "name": "clamp", "max": 1.0 }"#;
    assert!(serde_json::from_str::<X0Correction>(unknown).is_err());

    for (correction, name) in [
        (threshold(-0.1, 1.0, None), "quantile"),
        (threshold(f64::NAN, 1.0, None), "quantile"),
        (threshold(0.9, 0.0, None), "limit"),
        (threshold(0.9, f64::INFINITY, None), "limit"),
        (threshold(0.9, 1.0, Some(0.9)), "max"),
        (threshold(0.9, 1.0, Some(f64::INFINITY)), "max"),
        (X0Correction::Clamp { limit: -1.0 }, "limit"),
        (X0Correction::Clamp { limit: f64::NAN }, "limit"),
    ] {
        let error = correction.check().unwrap_err();
        let named = matches!(error, DiffusionError::Setting { setting, .. } if setting == name);
        assert!(named, "{correction:?}: {error:?}");
    }
}
