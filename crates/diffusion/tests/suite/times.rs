use latent_text_diffusion::DiffusionError;
use latent_text_diffusion::times::{Importance, LossHistory, TimeSampler, TimeSampling};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::support::{assert_close, device, values};

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len() as f64
}

fn variance(x: &[f64]) -> f64 {
    let centre = mean(x);
    x.iter().map(|x| (x - centre).powi(2)).sum::<f64>() / (x.len() - 1) as f64
}

/// `x` is within four standard errors of `expected`.
#[track_caller]
fn assert_mean(x: &[f64], expected: f64) {
    let error = mean(x) - expected;
    let standard_error = (variance(x) / x.len() as f64).sqrt();
    assert!(error.abs() < 4.0 * standard_error, "off by {error}, standard error {standard_error}");
}

fn methods() -> [TimeSampling; 4] {
    [
        TimeSampling::Uniform,
        TimeSampling::LowDiscrepancy,
        TimeSampling::LogitNormal { mean: -0.5, std: 1.2 },
        TimeSampling::Importance(Importance::default()),
    ]
}

/// A history that has seen `loss(t)` everywhere, ten times an interval.
fn history_of(settings: Importance, loss: impl Fn(f64) -> f64) -> LossHistory {
    let mut history = settings.init().unwrap();
    let bins = settings.bins;
    let times: Vec<f64> = (0..10 * bins).map(|i| (i as f64 + 0.5) / (10 * bins) as f64).collect();
    let losses: Vec<f32> = times.iter().map(|&t| loss(t) as f32).collect();
    history.update(&times, &losses).unwrap();
    history
}

#[test]
fn draws_depend_on_the_generator_alone_and_lie_between_0_and_1() {
    for method in methods() {
        let sampler = method.init().unwrap();
        let draw = sampler.draw(257, &mut rng(1));
        assert_eq!(draw, sampler.draw(257, &mut rng(1)));
        assert_ne!(draw, sampler.draw(257, &mut rng(2)));
        assert_eq!((draw.times.len(), draw.weights.len()), (257, 257));
        assert!(draw.times.iter().all(|t| (0.0..=1.0).contains(t)), "{method:?}");
        assert!(draw.weights.iter().all(|&w| w == 1.0), "{method:?}");
        assert!(sampler.draw(0, &mut rng(1)).times.is_empty());
    }
}

#[test]
fn uniform_times_have_the_moments_of_the_uniform_distribution() {
    let draw = TimeSampling::Uniform.init().unwrap().draw(20_000, &mut rng(1));
    assert_mean(&draw.times, 0.5);
    let squares: Vec<f64> = draw.times.iter().map(|t| t * t).collect();
    assert_mean(&squares, 1.0 / 3.0);
}

#[test]
fn low_discrepancy_puts_one_time_in_every_stratum() {
    let sampler = TimeSampling::LowDiscrepancy.init().unwrap();
    let mut rng = rng(1);
    for batch in [1, 2, 7, 64, 1000] {
        let mut times = sampler.draw(batch, &mut rng).times;
        if batch > 10 {
            assert!(!times.is_sorted(), "the order is random");
        }
        times.sort_by(f64::total_cmp);
        let offset = times[0];
        for (stratum, &time) in times.iter().enumerate() {
            assert_eq!((time * batch as f64).floor() as usize, stratum);
            assert!((time - offset - stratum as f64 / batch as f64).abs() < 1e-12);
        }
    }
}

#[test]
fn each_place_of_a_low_discrepancy_batch_has_uniform_times() {
    let sampler = TimeSampling::LowDiscrepancy.init().unwrap();
    let mut rng = rng(1);
    let draws: Vec<Vec<f64>> = (0..4000).map(|_| sampler.draw(5, &mut rng).times).collect();
    for place in 0..5 {
        let times: Vec<f64> = draws.iter().map(|times| times[place]).collect();
        assert_mean(&times, 0.5);
        let squares: Vec<f64> = times.iter().map(|t| t * t).collect();
        assert_mean(&squares, 1.0 / 3.0);
    }
    // The variance of a batch's mean is that of its one offset: 1 / (12 batch^2), not 1 / (12 batch).
    let means: Vec<f64> = draws.iter().map(|times| mean(times)).collect();
    assert_mean(&means, 0.5);
    assert!((variance(&means) * 12.0 * 25.0 - 1.0).abs() < 0.1, "{}", variance(&means));
}

#[test]
fn the_logits_of_logit_normal_times_are_normal() {
    let sampler = TimeSampling::LogitNormal { mean: -0.5, std: 1.2 }.init().unwrap();
    let times = sampler.draw(20_000, &mut rng(1)).times;
    let logits: Vec<f64> = times.iter().map(|t| (t / (1.0 - t)).ln()).collect();
    assert_mean(&logits, -0.5);
    let squares: Vec<f64> = logits.iter().map(|l| (l + 0.5).powi(2)).collect();
    assert_mean(&squares, 1.2 * 1.2);
    // One standard deviation above the mean: t = sigmoid(0.7), with probability 0.841345 below.
    let below: Vec<f64> =
        times.iter().map(|&t| f64::from(t < 1.0 / (1.0 + (-0.7_f64).exp()))).collect();
    assert_mean(&below, 0.841345);
}

#[test]
fn importance_is_uniform_until_every_interval_has_had_its_losses() {
    let settings = Importance { bins: 4, warm_up: 2, ..Importance::default() };
    let mut history = settings.init().unwrap();
    history
        .update(&[0.1, 0.3, 0.6, 0.9, 0.1, 0.3, 0.6], &[9.0, 1.0, 1.0, 1.0, 9.0, 1.0, 1.0])
        .unwrap();
    assert!(!history.is_warm());
    assert_eq!([0.1, 0.3, 0.9].map(|t| history.density(t)), [1.0; 3]);
    assert_eq!(history.draw(100, &mut rng(1)).weights, [1.0; 100]);

    history.update(&[1.0], &[1.0]).unwrap();
    assert!(history.is_warm());
    // 9 to 1 to 1 to 1, of mean 3, and a thousandth of uniform draws.
    assert!((history.density(0.1) - (0.999 * 3.0 + 0.001)).abs() < 1e-12);
    assert!((history.density(0.3) - (0.999 / 3.0 + 0.001)).abs() < 1e-12);
}

#[test]
fn the_average_is_of_squares_and_forgets() {
    let settings = Importance { bins: 2, decay: 0.5, warm_up: 1, uniform_share: 1e-9 };
    let mut history = settings.init().unwrap();
    history.update(&[0.9], &[2.0]).unwrap();
    // The mean square of the losses so far in the first half: 1, then (1 + 9) / 2, then (5 + 1) / 2.
    for (loss, mean_square) in [(1.0, 1.0), (3.0, 5.0), (-1.0, 3.0)] {
        history.update(&[0.2], &[loss]).unwrap();
        let ratio = history.density(0.2) / history.density(0.9);
        assert!((ratio - f64::sqrt(mean_square) / 2.0).abs() < 1e-6, "{loss}: {ratio}");
    }
}

#[test]
fn losses_of_zero_everywhere_leave_the_times_uniform() {
    let history = history_of(Importance { bins: 5, ..Importance::default() }, |_| 0.0);
    assert!(history.is_warm());
    assert_eq!(history.density(0.5), 1.0);
}

/// `integral of f(t) dt` over [0, 1] is estimated by the weighted mean of `f`, with less variance than
/// by uniform times when `f` is the loss of the history.
#[test]
fn importance_weights_keep_the_mean_loss() {
    let loss = |t: f64| 0.05 + 3.0 * (-20.0 * t).exp();
    let exact = 0.05 + 3.0 / 20.0 * (1.0 - (-20.0_f64).exp());
    let settings = Importance { bins: 50, ..Importance::default() };
    let draw = history_of(settings, loss).draw(20_000, &mut rng(1));

    let weighted = |f: &dyn Fn(f64) -> f64| -> Vec<f64> {
        draw.times.iter().zip(&draw.weights).map(|(&t, w)| w * f(t)).collect()
    };
    assert_mean(&weighted(&loss), exact);
    assert_mean(&weighted(&|_| 1.0), 1.0);
    assert_mean(&weighted(&|t| t.powi(3)), 0.25);
    assert_mean(&weighted(&|t| f64::from(t < 0.013)), 0.013);

    let uniform = TimeSampling::Uniform.init().unwrap().draw(20_000, &mut rng(1));
    let unweighted: Vec<f64> = uniform.times.iter().map(|&t| loss(t)).collect();
    assert!(variance(&weighted(&loss)) < 0.02 * variance(&unweighted));
}

#[test]
fn importance_draws_follow_the_density() {
    let settings = Importance { bins: 10, uniform_share: 0.1, ..Importance::default() };
    let history = history_of(settings, |t| t * t);
    let draw = history.draw(50_000, &mut rng(1));
    for bin in 0..10 {
        let inside: Vec<f64> =
            draw.times.iter().map(|t| f64::from((t * 10.0) as usize == bin)).collect();
        assert_mean(&inside, history.density((bin as f64 + 0.5) / 10.0) / 10.0);
    }
    for (&time, &weight) in draw.times.iter().zip(&draw.weights) {
        assert_eq!(weight, history.density(time).recip());
        assert!(weight <= 10.0 + 1e-9, "the uniform share bounds the weights");
    }
    let tensor = draw.weight_tensor(&device());
    let expected: Vec<f32> = draw.weights.iter().map(|&w| w as f32).collect();
    assert_close(&values(tensor), &expected, 0.0);
}

#[test]
fn a_stored_history_continues_as_if_it_had_not_been_stored() {
    let settings = Importance { bins: 8, ..Importance::default() };
    let mut original = TimeSampling::Importance(settings).init().unwrap();
    // Losses whose averages JSON holds exactly.
    let times: Vec<f64> = (0..80).map(|i| (f64::from(i) + 0.5) / 80.0).collect();
    let losses: Vec<f32> = times.iter().map(|t| 1.0 + (t * 8.0).floor() as f32).collect();
    original.update(&times, &losses).unwrap();

    let json = serde_json::to_string(original.history().unwrap()).unwrap();
    let mut resumed = TimeSampling::Importance(settings).init().unwrap();
    resumed.resume(serde_json::from_str(&json).unwrap()).unwrap();
    assert_eq!(resumed, original);
    for sampler in [&mut original, &mut resumed] {
        sampler.update(&[0.3, 0.7], &[0.5, 4.0]).unwrap();
    }
    assert_eq!(resumed.draw(50, &mut rng(1)), original.draw(50, &mut rng(1)));
    assert_ne!(resumed.history().unwrap().density(0.95), 1.0);
}

#[test]
fn a_history_that_does_not_fit_is_refused() {
    let stored = Importance { bins: 8, ..Importance::default() }.init().unwrap();
    let sampler = |method: TimeSampling| -> TimeSampler { method.init().unwrap() };
    let error = sampler(TimeSampling::Importance(Importance::default())).resume(stored.clone());
    assert_eq!(error, Err(DiffusionError::LossHistoryBins { found: 8, expected: 100 }));
    let error = sampler(TimeSampling::Uniform).resume(stored);
    assert_eq!(error, Err(DiffusionError::LossHistoryBins { found: 8, expected: 0 }));

    let json = |bins: &str, square: &str| {
        format!(
            r#"{{"settings":{{"bins":{bins}}},"averages":[{{"mean_square":{square},"count":3}}]}}"#
        )
    };
    serde_json::from_str::<LossHistory>(&json("1", "2.0")).unwrap();
    for (bins, square, expected) in [
        ("2", "2.0", "a loss history of 1 bins cannot be continued with 2 bins"),
        ("0", "2.0", "importance time sampling cannot have bins = 0: it must be at least 1"),
        ("1", "-2.0", "bin 0 of the stored loss history holds a mean square of -2"),
    ] {
        let error = serde_json::from_str::<LossHistory>(&json(bins, square)).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn a_history_takes_all_losses_of_a_batch_or_none() {
    let mut history = Importance::default().init().unwrap();
    let before = history.clone();
    let error = history.update(&[0.1, 0.2], &[1.0]);
    assert_eq!(error, Err(DiffusionError::LossCount { times: 2, losses: 1 }));
    for (time, loss) in [(0.2, f32::INFINITY), (1.01, 1.0), (-0.01, 1.0)] {
        let error = history.update(&[0.1, time], &[1.0, loss]);
        assert_eq!(error, Err(DiffusionError::UnusableLoss { index: 1, time, loss }));
    }
    history.update(&[f64::NAN], &[1.0]).unwrap_err();
    history.update(&[0.5], &[f32::NAN]).unwrap_err();
    assert_eq!(history, before);
}

#[test]
fn only_importance_needs_losses() {
    for method in methods() {
        let mut sampler = method.init().unwrap();
        let is_importance = matches!(method, TimeSampling::Importance(_));
        assert_eq!(sampler.needs_losses(), is_importance);
        let before = sampler.clone();
        sampler.update(&[0.5], &[1.0]).unwrap();
        assert_eq!(sampler != before, is_importance);
    }
}

#[test]
fn settings_of_times_are_checked() {
    let importance = |change: fn(&mut Importance)| {
        let mut settings = Importance::default();
        change(&mut settings);
        TimeSampling::Importance(settings)
    };
    for (method, name) in [
        (TimeSampling::LogitNormal { mean: f64::NAN, std: 1.0 }, "mean"),
        (TimeSampling::LogitNormal { mean: 0.0, std: 0.0 }, "std"),
        (TimeSampling::LogitNormal { mean: 0.0, std: f64::INFINITY }, "std"),
        (importance(|s| s.bins = 0), "bins"),
        (importance(|s| s.decay = 1.0), "decay"),
        (importance(|s| s.decay = -0.1), "decay"),
        (importance(|s| s.warm_up = 0), "warm_up"),
        (importance(|s| s.uniform_share = 0.0), "uniform_share"),
        (importance(|s| s.uniform_share = f64::NAN), "uniform_share"),
    ] {
        let error = method.init().unwrap_err();
        assert!(
            matches!(error, DiffusionError::Setting { setting, .. } if setting == name),
            "{method:?}: {error:?}"
        );
    }
}

#[test]
fn times_in_settings() {
    let json = serde_json::to_string(&methods()).unwrap();
    assert_eq!(
        json,
        concat!(
            r#"["uniform","low_discrepancy",{"logit_normal":{"mean":-0.5,"std":1.2}},"#,
            r#"{"importance":{"bins":100,"decay":0.9,"warm_up":10,"uniform_share":0.001}}]"#
        )
    );
    assert_eq!(serde_json::from_str::<Vec<TimeSampling>>(&json).unwrap(), methods());
    let short: TimeSampling = serde_json::from_str(r#"{"importance":{}}"#).unwrap();
    assert_eq!(short, TimeSampling::Importance(Importance::default()));
    assert_eq!(TimeSampling::default(), TimeSampling::Uniform);
    serde_json::from_str::<TimeSampling>(r#"{"importance":{"bin":3}}"#).unwrap_err();
}
