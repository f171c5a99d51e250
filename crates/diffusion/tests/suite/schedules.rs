use std::path::PathBuf;

use latent_text_diffusion::schedule::{
    AdaptiveSchedule, AdaptiveScheduleConfig, BetaLinear, Betas, Cosine, Edm, Exponential, Knots,
    Laplace, LinearBetas, RectifiedFlow, ScaledLinearBetas, Sigmoid, SigmoidBetas, SimpleLinear,
    Sqrt, SquaredCosineBetas, Table, TanD,
};
use latent_text_diffusion::{
    DiffusionError, Family, NoiseLevel, NoiseSchedule, NoiseScheduleConfig, ScheduleKind,
};
use proptest::prelude::*;
use proptest::sample::select;
use safetensors::SafeTensors;

use crate::support::{device, values};

/// The schedules of LD4LG.
fn kinds() -> [(&'static str, ScheduleKind); 4] {
    [
        ("cosine", ScheduleKind::Cosine(Cosine::default())),
        ("simple_linear", ScheduleKind::SimpleLinear(SimpleLinear {})),
        ("beta_linear", ScheduleKind::BetaLinear(BetaLinear {})),
        ("sigmoid", ScheduleKind::Sigmoid(Sigmoid::default())),
    ]
}

fn table(betas: Betas, len: usize, zero_terminal_snr: bool) -> ScheduleKind {
    ScheduleKind::Table(Table { betas, len, zero_terminal_snr })
}

fn all_betas() -> [Betas; 4] {
    [
        Betas::Linear(LinearBetas::default()),
        Betas::ScaledLinear(ScaledLinearBetas::default()),
        Betas::SquaredCosine(SquaredCosineBetas::default()),
        Betas::Sigmoid(SigmoidBetas::default()),
    ]
}

fn knots() -> Knots {
    Knots { log_snrs: vec![12.0, 3.0, 2.0, -1.0, -14.0], family: Family::VariancePreserving }
}

/// Every schedule by its name in settings; tables in all their variants.
fn all_kinds() -> Vec<(&'static str, ScheduleKind)> {
    let mut kinds = kinds().to_vec();
    kinds.extend([
        ("sqrt", ScheduleKind::Sqrt(Sqrt::default())),
        ("tan_d", ScheduleKind::TanD(TanD::default())),
        ("laplace", ScheduleKind::Laplace(Laplace::default())),
        ("edm", ScheduleKind::Edm(Edm::default())),
        ("exponential", ScheduleKind::Exponential(Exponential::default())),
        ("rectified_flow", ScheduleKind::RectifiedFlow(RectifiedFlow::default())),
        ("rectified_flow", ScheduleKind::RectifiedFlow(RectifiedFlow { shift: 3.0 })),
        ("knots", ScheduleKind::Knots(knots())),
    ]);
    for betas in all_betas() {
        kinds.push(("table", table(betas, 1000, false)));
        kinds.push(("table", table(betas, 50, true)));
    }
    kinds
}

fn schedule(kind: ScheduleKind) -> NoiseSchedule {
    config(kind, 1.0).init().unwrap()
}

fn config(kind: ScheduleKind, scale: f64) -> NoiseScheduleConfig {
    NoiseScheduleConfig { kind, scale }
}

#[test]
fn alphas_equal_the_tables_of_the_reference() {
    let path = "tests/fixtures/golden/schedules.safetensors";
    let bytes =
        std::fs::read(PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join(path))
            .unwrap();
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let table = |name: &str| -> Vec<f32> {
        let bytes = golden.tensor(name).unwrap().data().to_vec();
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    let times = table("t");
    assert_eq!(times.len(), 101);

    for (name, kind) in kinds() {
        let unshifted = config(kind.clone(), 1.0).init().unwrap();
        for scale in [1.0, 0.5, 0.1] {
            let schedule = config(kind.clone(), scale).init().unwrap();
            let expected = table(&format!("{name}_scale{scale:.1}"));
            for (&t, &expected) in times.iter().zip(&expected) {
                let (alpha, g) = (schedule.alpha(t.into()), unshifted.alpha(t.into()));
                // The reference computes g in f32; the shift magnifies its rounding error by
                // d alpha / d g.
                let magnified = alpha * (1.0 - alpha) / (g * (1.0 - g));
                let allowed = 1e-6 + magnified * f64::from(f32::EPSILON);
                let error = (alpha - f64::from(expected)).abs();
                assert!(error < allowed, "{name} {scale} at {t}: {alpha}, not {expected}");
            }
        }
    }
}

#[test]
fn the_log_snr_falls_strictly_between_its_clamps() {
    for (name, kind) in kinds() {
        for scale in [0.1, 1.0, 10.0] {
            let schedule = config(kind.clone(), scale).init().unwrap();
            let log_snrs: Vec<f64> =
                (0..=1000).map(|i| schedule.log_snr(f64::from(i) / 1000.0)).collect();
            assert!(log_snrs.is_sorted_by(|a, b| a > b), "{name} {scale}");

            let shift = 2.0 * scale.ln();
            assert!(log_snrs.iter().all(|l| (l - shift).abs() < 15.0 + 1e-9), "{name} {scale}");
            assert!(schedule.alpha(0.0) < 1.0 && schedule.alpha(1.0) > 0.0);
        }
    }
}

#[test]
fn parameters_bend_the_curves() {
    // Half a wave of the cosine's square, from a third of the quarter wave on:
    // S = cos(pi / 6)^2 = 3/4, E = 0, and at t = 1/2 cos(pi / 3)^2 = 1/4.
    let cosine = ScheduleKind::Cosine(Cosine { start: 1.0 / 3.0, ..Cosine::default() });
    let alpha = config(cosine, 1.0).init().unwrap().alpha(0.5);
    assert!((alpha - 1.0 / 3.0).abs() < 1e-12, "{alpha}");

    // tau = 1/2 is the cosine itself.
    let cosine = ScheduleKind::Cosine(Cosine { tau: 0.5, ..Cosine::default() });
    let alpha = config(cosine, 1.0).init().unwrap().alpha(2.0 / 3.0);
    assert!((alpha - 0.5).abs() < 1e-12, "{alpha}");

    // s(0) = 1/2, s(ln 3) = 3/4, s(2 ln 3) = 9/10: (0.9 - 0.75) / (0.9 - 0.5) = 3/8.
    let sigmoid = Sigmoid { start: 0.0, end: 4.0 * 3f64.ln(), tau: 2.0 };
    let alpha = config(ScheduleKind::Sigmoid(sigmoid), 1.0).init().unwrap().alpha(0.5);
    assert!((alpha - 0.375).abs() < 1e-12, "{alpha}");
}

#[test]
fn scale_shifts_the_log_snr() {
    let plain = NoiseScheduleConfig::default().init().unwrap();
    let shifted = config(ScheduleKind::default(), 0.1).init().unwrap();
    for t in [0.0, 0.3, 1.0] {
        let difference = shifted.log_snr(t) - plain.log_snr(t);
        assert!((difference + 4.605_170_185_988_091).abs() < 1e-12);
    }
}

#[test]
fn times_outside_count_as_the_ends() {
    for (_, kind) in all_kinds() {
        let schedule = config(kind, 1.0).init().unwrap();
        assert_eq!(schedule.alpha(-0.1), schedule.alpha(0.0));
        assert_eq!(schedule.alpha(1.1), schedule.alpha(1.0));
    }
}

#[test]
fn levels_keep_their_digits_at_both_ends() {
    for log_snr in [-28.0, -15.0, 0.0, 15.0, 28.0] {
        let level = NoiseLevel::from_log_snr(log_snr);
        let ratio = (level.signal() / level.noise()).powi(2).ln();
        assert!((ratio - log_snr).abs() < 1e-12, "{ratio} {log_snr}");
        let total = level.signal().powi(2) + level.noise().powi(2);
        assert!((total - 1.0).abs() < 1e-14);
        assert!((level.alpha() - level.signal().powi(2)).abs() < 1e-15);
    }
}

#[test]
fn alphas_are_those_of_every_sample() {
    let schedule = NoiseScheduleConfig::default().init().unwrap();
    let times = [0.0, 0.25, 0.9];
    let alphas = values(schedule.alphas(&times, &device()));
    assert_eq!(alphas, times.map(|t| schedule.alpha(t) as f32));
}

#[test]
fn settings_are_written_and_read_as_json() {
    let default: NoiseScheduleConfig = serde_json::from_str("{}").unwrap();
    assert_eq!(default, config(ScheduleKind::Cosine(Cosine::default()), 1.0));

    let json = r#"{"kind": {"name": "cosine", "tau": 2.0}, "scale": 0.1}"#;
    let read: NoiseScheduleConfig = serde_json::from_str(json).unwrap();
    let tau_2 = Cosine { tau: 2.0, ..Cosine::default() };
    assert_eq!(read, config(ScheduleKind::Cosine(tau_2), 0.1));

    for (name, kind) in kinds() {
        let json = format!(r#"{{"kind": {{"name": "{name}"}}}}"#);
        let read: NoiseScheduleConfig = serde_json::from_str(&json).unwrap();
        assert_eq!(read, config(kind, 1.0));
        let written = serde_json::to_string(&read).unwrap();
        assert_eq!(serde_json::from_str::<NoiseScheduleConfig>(&written).unwrap(), read);

        let unknown = format!(r#"{{"kind": {{"name": "{name}", "power": 1}}}}"#);
        let error = serde_json::from_str::<NoiseScheduleConfig>(&unknown).unwrap_err();
        assert!(error.to_string().contains("power"), "{error}");
    }
    assert!(serde_json::from_str::<NoiseScheduleConfig>(r#"{"scal": 1.0}"#).is_err());
}

#[test]
fn settings_out_of_range_are_errors() {
    for scale in [0.0, -1.0, 1e-4, 1e4, f64::NAN, f64::INFINITY] {
        let error = config(ScheduleKind::default(), scale).init().unwrap_err();
        assert!(matches!(error, DiffusionError::Scale { .. }), "{scale}");
        assert!(error.to_string().contains("between 0.001 and 1000"), "{error}");
    }

    let cosine = |start, end, tau| ScheduleKind::Cosine(Cosine { start, end, tau });
    let sigmoid = |start, end, tau| ScheduleKind::Sigmoid(Sigmoid { start, end, tau });
    for kind in [
        cosine(-0.1, 1.0, 1.0),
        cosine(0.5, 0.5, 1.0),
        cosine(0.0, 1.1, 1.0),
        cosine(0.0, 1.0, 0.0),
        cosine(0.0, 1.0, f64::NAN),
        cosine(0.5, 1.0, 1e6),
        sigmoid(3.0, -3.0, 1.0),
        sigmoid(-3.0, 3.0, -1.0),
        sigmoid(f64::NAN, 3.0, 1.0),
        sigmoid(100.0, 200.0, 1.0),
    ] {
        let error = config(kind.clone(), 1.0).init().unwrap_err();
        assert!(matches!(error, DiffusionError::Curve { .. }), "{kind:?}");
    }
}

#[test]
fn every_log_snr_falls_strictly() {
    for (name, kind) in all_kinds() {
        for scale in [0.1, 1.0, 10.0] {
            let schedule = config(kind.clone(), scale).init().unwrap();
            let log_snrs: Vec<f64> =
                (0..=2000).map(|i| schedule.log_snr(f64::from(i) / 2000.0)).collect();
            assert!(log_snrs.is_sorted_by(|a, b| a > b), "{name} {scale}");
            assert!(log_snrs[1..2000].iter().all(|l| l.is_finite()), "{name} {scale}");
        }
    }
}

#[test]
fn every_level_is_of_its_family() {
    for (name, kind) in all_kinds() {
        let schedule = schedule(kind);
        for i in 0..=100 {
            let level = schedule.level(f64::from(i) / 100.0);
            let (signal, noise) = (level.signal(), level.noise());
            let whole = match schedule.family() {
                Family::VariancePreserving => signal.powi(2) + noise.powi(2),
                Family::VarianceExploding => signal,
                Family::RectifiedFlow => signal + noise,
                family => panic!("{family:?}"),
            };
            assert!((whole - 1.0).abs() < 1e-14, "{name} {i}: {whole}");
            assert!((0.0..=1.0).contains(&level.alpha()), "{name} {i}");
        }
    }
    let family = |kind| schedule(kind).family();
    assert_eq!(family(ScheduleKind::default()), Family::VariancePreserving);
    assert_eq!(family(ScheduleKind::Edm(Edm::default())), Family::VarianceExploding);
    assert_eq!(
        family(ScheduleKind::Exponential(Exponential::default())),
        Family::VarianceExploding
    );
    let flow = ScheduleKind::RectifiedFlow(RectifiedFlow::default());
    assert_eq!(family(flow), Family::RectifiedFlow);
    let exploding = Knots { family: Family::VarianceExploding, ..knots() };
    assert_eq!(family(ScheduleKind::Knots(exploding)), Family::VarianceExploding);
}

#[test]
fn time_of_inverts_log_snr() {
    for (name, kind) in all_kinds() {
        for scale in [0.1, 1.0] {
            let schedule = config(kind.clone(), scale).init().unwrap();
            for i in 0..=1000 {
                let t = f64::from(i) / 1000.0;
                let back = schedule.time_of(schedule.log_snr(t));
                assert!((back - t).abs() < 1e-10, "{name} {scale}: {t} {back}");
            }
            assert_eq!(schedule.time_of(f64::INFINITY), 0.0, "{name}");
            assert_eq!(schedule.time_of(f64::NEG_INFINITY), 1.0, "{name}");
        }
    }
}

#[test]
fn time_of_is_accurate_in_the_time() {
    // The cosine's log-SNR is -2 ln tan(pi t / 2).
    let cosine = schedule(ScheduleKind::default());
    for log_snr in [-10.0, -1.0, 0.0, 0.5, 7.0, 14.0] {
        let expected = 2.0 / std::f64::consts::PI * (-0.5f64 * log_snr).exp().atan();
        let time = cosine.time_of(log_snr);
        assert!((time - expected).abs() < 1e-12, "{log_snr}: {time} {expected}");
    }
}

#[test]
fn only_tables_have_a_length() {
    for (name, kind) in all_kinds() {
        let expected = match &kind {
            ScheduleKind::Table(table) => Some(table.len),
            _ => None,
        };
        assert_eq!(schedule(kind).table_len(), expected, "{name}");
    }
}

#[test]
fn curves_equal_their_closed_forms() {
    let close = |actual: f64, expected: f64| {
        assert!((actual - expected).abs() < 1e-12 * expected.abs().max(1.0), "{actual} {expected}");
    };

    let sqrt = schedule(ScheduleKind::Sqrt(Sqrt::default()));
    close(sqrt.alpha(0.0), 0.99);
    let alpha = sqrt.alpha(0.49);
    assert!((alpha - (1.0 - 0.4901f64.sqrt())).abs() < 1e-4, "Diffusion-LM's formula: {alpha}");
    close(schedule(ScheduleKind::Sqrt(Sqrt { s: 0.0 })).alpha(0.25), 0.5);
    close(sqrt.log_snr(1.0), -15.0);

    // tan(pi / 4) = 1, tan(pi / 6)^2 = 1 / 3.
    let tan_9 = schedule(ScheduleKind::TanD(TanD::default()));
    close(tan_9.alpha(0.5), 1.0 / 82.0);
    close(tan_9.alpha(1.0 / 3.0), 1.0 / 28.0);
    let cosine = config(ScheduleKind::default(), 1.0 / 9.0).init().unwrap();
    for t in [0.0, 0.2, 0.7, 1.0] {
        assert!((tan_9.log_snr(t) - cosine.log_snr(t)).abs() < 1e-9, "{t}");
    }

    let laplace = schedule(ScheduleKind::Laplace(Laplace { mu: 1.0, b: 2.0 }));
    close(laplace.log_snr(0.5), 1.0);
    close(laplace.log_snr(0.25), 1.0 + 2.0 * 2f64.ln());
    close(laplace.log_snr(0.95), 1.0 - 2.0 * 10f64.ln());
    close(laplace.log_snr(0.0), 16.0);

    let edm = schedule(ScheduleKind::Edm(Edm::default()));
    close(edm.level(0.0).sigma(), 0.002);
    close(edm.level(1.0).sigma(), 80.0);
    // The square root of sigma goes from 1 to 3: (1 + 2 t)^2.
    let edm = schedule(ScheduleKind::Edm(Edm { sigma_min: 1.0, sigma_max: 9.0, rho: 2.0 }));
    close(edm.level(0.25).sigma(), 2.25);
    close(edm.level(0.25).noise(), 2.25);

    let exploding = Exponential { sigma_min: 0.01, sigma_max: 100.0 };
    let exploding = schedule(ScheduleKind::Exponential(exploding));
    close(exploding.level(0.5).sigma(), 1.0);
    close(exploding.level(0.25).noise(), 0.1);

    let flow = |shift| schedule(ScheduleKind::RectifiedFlow(RectifiedFlow { shift }));
    close(flow(1.0).level(0.3).noise(), 0.3);
    close(flow(3.0).level(0.5).noise(), 0.75);
    close(flow(3.0).level(0.2).signal(), 1.0 - 0.6 / 1.4);
    for shift in [0.5, 1.0, 3.0] {
        let (data, noise) = (flow(shift).level(0.0), flow(shift).level(1.0));
        assert_eq!((data.signal(), data.noise()), (1.0, 0.0));
        assert_eq!((noise.signal(), noise.noise()), (0.0, 1.0));
    }

    let line = schedule(ScheduleKind::Knots(knots()));
    close(line.log_snr(0.25), 3.0);
    close(line.log_snr(0.125), 7.5);
    close(line.log_snr(0.95), -1.0 - 13.0 * 0.8);
}

#[test]
fn scale_shifts_every_schedule() {
    for (name, kind) in all_kinds() {
        let plain = schedule(kind.clone());
        let shifted = config(kind, 0.1).init().unwrap();
        for t in [0.01, 0.3, 0.99] {
            let difference = shifted.log_snr(t) - plain.log_snr(t);
            assert!((difference + 4.605_170_185_988_091).abs() < 1e-9, "{name} {t}");
        }
    }
}

/// `alpha_bar` as the running product of `1 - beta`, in f64.
fn product(betas: impl Iterator<Item = f64>) -> Vec<f64> {
    betas
        .scan(1.0, |product, beta| {
            *product *= 1.0 - beta;
            Some(*product)
        })
        .collect()
}

#[test]
fn tables_are_products_of_their_betas() {
    let line = |start: f64, end: f64, i: usize| start + (end - start) * i as f64 / 999.0;
    let alpha_bar = |u: f64| ((u + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2);
    let expected = [
        product((0..1000).map(|i| line(1e-4, 0.02, i))),
        product((0..1000).map(|i| line(0.00085f64.sqrt(), 0.012f64.sqrt(), i).powi(2))),
        product((0..1000).map(|i| {
            let (from, to) = (i as f64 / 1000.0, (i + 1) as f64 / 1000.0);
            (1.0 - alpha_bar(to) / alpha_bar(from)).min(0.999)
        })),
        product((0..1000).map(|i| {
            let logistic = 1.0 / (1.0 + (-line(-6.0, 6.0, i)).exp());
            1e-4 + (0.02 - 1e-4) * logistic
        })),
    ];
    for (betas, expected) in all_betas().into_iter().zip(expected) {
        let schedule = schedule(table(betas, 1000, false));
        for (i, expected) in expected.into_iter().enumerate() {
            let alpha = schedule.alpha(i as f64 / 999.0);
            assert!((alpha - expected).abs() < 1e-10 * expected, "{betas:?} {i}: {alpha}");
        }
    }
}

#[test]
fn zero_terminal_snr_rescales_the_signals() {
    for betas in all_betas() {
        let plain = schedule(table(betas, 1000, false));
        let zero = schedule(table(betas, 1000, true));
        let signal = |i: usize| plain.level(i as f64 / 999.0).signal();
        for i in 0..1000 {
            let expected = (signal(i) - signal(999)) * signal(0) / (signal(0) - signal(999));
            let actual = zero.level(i as f64 / 999.0).signal();
            assert!((actual - expected).abs() < 1e-12, "{betas:?} {i}: {actual} {expected}");
        }
        let last = zero.level(1.0);
        assert_eq!((last.signal(), last.noise(), zero.alpha(1.0)), (0.0, 1.0, 0.0));
        assert_eq!(zero.log_snr(1.0), f64::NEG_INFINITY);

        // Half-way between the last entry but one and the end, the signal is half of what it was.
        let half = zero.level(998.5 / 999.0).signal();
        let before = zero.level(998.0 / 999.0).signal();
        assert!((half / before - 0.5).abs() < 1e-10, "{betas:?}");
    }
}

#[test]
fn tables_are_linear_in_log_snr_between_entries() {
    let schedule = schedule(table(Betas::default(), 10, false));
    let (low, high) = (schedule.log_snr(4.0 / 9.0), schedule.log_snr(5.0 / 9.0));
    let between = schedule.log_snr(4.25 / 9.0);
    assert!((between - (0.75 * low + 0.25 * high)).abs() < 1e-12);
}

#[test]
fn every_schedule_is_written_and_read_as_json() {
    for (name, kind) in all_kinds() {
        let written = serde_json::to_value(config(kind.clone(), 0.5)).unwrap();
        assert_eq!(written["kind"]["name"], name);
        let read: NoiseScheduleConfig = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(read, config(kind, 0.5));

        let mut unknown = written;
        unknown["kind"]["power"] = 1.into();
        let error = serde_json::from_value::<NoiseScheduleConfig>(unknown).unwrap_err();
        assert!(error.to_string().contains("power"), "{name}: {error}");
    }
    let json = r#"{"kind": {"name": "table", "betas": {"name": "scaled_linear", "end": 0.02}}}"#;
    let read: NoiseScheduleConfig = serde_json::from_str(json).unwrap();
    let betas = Betas::ScaledLinear(ScaledLinearBetas { start: 0.00085, end: 0.02 });
    assert_eq!(read.kind, table(betas, 1000, false));
    let json = r#"{"kind": {"name": "table", "betas": {"name": "linear", "middle": 0.1}}}"#;
    assert!(serde_json::from_str::<NoiseScheduleConfig>(json).is_err());

    let shipped = r#"{"kind":{"name":"cosine","start":0.0,"end":1.0,"tau":1.0},"scale":1.0}"#;
    let read: NoiseScheduleConfig = serde_json::from_str(shipped).unwrap();
    assert_eq!(read, NoiseScheduleConfig::default());
    assert_eq!(serde_json::to_string(&read).unwrap(), shipped);
}

#[test]
fn parameters_out_of_range_are_errors() {
    let edm = |sigma_min, sigma_max, rho| ScheduleKind::Edm(Edm { sigma_min, sigma_max, rho });
    let exponential =
        |sigma_min, sigma_max| ScheduleKind::Exponential(Exponential { sigma_min, sigma_max });
    let linear = |start, end| Betas::Linear(LinearBetas { start, end });
    let squared = |s, max_beta| Betas::SquaredCosine(SquaredCosineBetas { s, max_beta });
    let flow = |shift| ScheduleKind::RectifiedFlow(RectifiedFlow { shift });
    let knots = |log_snrs: &[f64]| {
        ScheduleKind::Knots(Knots { log_snrs: log_snrs.to_vec(), ..Knots::default() })
    };
    for (kind, expected) in [
        (ScheduleKind::Sqrt(Sqrt { s: 1.0 }), "s"),
        (ScheduleKind::Sqrt(Sqrt { s: f64::NAN }), "s"),
        (ScheduleKind::TanD(TanD { d: 0.0 }), "d"),
        (ScheduleKind::TanD(TanD { d: f64::INFINITY }), "d"),
        (ScheduleKind::Laplace(Laplace { mu: f64::NAN, b: 0.5 }), "mu"),
        (ScheduleKind::Laplace(Laplace { mu: 20.0, b: 0.5 }), "mu"),
        (ScheduleKind::Laplace(Laplace { mu: 0.0, b: 0.0 }), "b"),
        (ScheduleKind::Laplace(Laplace { mu: 0.0, b: f64::INFINITY }), "b"),
        (edm(80.0, 0.002, 7.0), "sigma_min"),
        (edm(1.0, 1.0, 7.0), "sigma_min"),
        (edm(0.0, 80.0, 7.0), "sigma_min"),
        (edm(0.002, f64::INFINITY, 7.0), "sigma_max"),
        (edm(0.002, 80.0, 0.0), "rho"),
        (edm(0.002, 80.0, f64::NAN), "rho"),
        (exponential(2.0, 1.0), "sigma_min"),
        (exponential(-1.0, 1.0), "sigma_min"),
        (exponential(0.1, f64::NAN), "sigma_max"),
        (flow(0.0), "shift"),
        (flow(f64::NAN), "shift"),
        (table(linear(0.0, 0.02), 1000, false), "start"),
        (table(linear(1e-4, 1.0), 1000, false), "end"),
        (table(linear(f64::NAN, 0.1), 1000, false), "start"),
        (table(Betas::Sigmoid(SigmoidBetas { start: 0.1, end: 2.0 }), 10, false), "end"),
        (table(squared(-0.1, 0.999), 1000, false), "s"),
        (table(squared(0.008, 1.0), 1000, false), "max_beta"),
        (table(Betas::default(), 0, false), "len"),
        (table(Betas::default(), 1, true), "len"),
        (table(Betas::default(), 2_000_000, false), "len"),
        (knots(&[]), "number of entries"),
        (knots(&[1.0]), "number of entries"),
        (knots(&[1.0, f64::NAN]), "log_snrs"),
        (knots(&[1.0, f64::NEG_INFINITY]), "log_snrs"),
        (knots(&[81.0, 0.0]), "log_snrs"),
    ] {
        match config(kind.clone(), 1.0).init() {
            Err(DiffusionError::Setting { setting, .. }) => assert_eq!(setting, expected),
            other => panic!("{kind:?}: {other:?}"),
        }
    }
    let error = config(edm(2.0, 1.0, 7.0), 1.0).init().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the edm schedule cannot have sigma_min = 2: it must be below sigma_max"
    );
}

#[test]
fn entries_that_do_not_fall_are_errors() {
    let knots = |log_snrs: &[f64]| {
        ScheduleKind::Knots(Knots { log_snrs: log_snrs.to_vec(), ..Knots::default() })
    };
    // So extreme that the last signals, or the first noise, vanish in f64.
    let flat_end = Betas::Linear(LinearBetas { start: 0.99, end: 0.99 });
    let no_noise = Betas::Linear(LinearBetas { start: 1e-320, end: 1e-310 });
    for (kind, at) in [
        (knots(&[3.0, 1.0, 1.0]), Some(1)),
        (knots(&[3.0, 4.0, 1.0]), Some(0)),
        (table(flat_end, 1000, true), None),
        (table(no_noise, 10, true), Some(0)),
    ] {
        match config(kind.clone(), 1.0).init() {
            Err(DiffusionError::NotFalling { index, .. }) => {
                assert!(at.is_none_or(|at| at == index), "{kind:?} {index}");
            }
            other => panic!("{kind:?}: {other:?}"),
        }
    }
}

/// An adaptive schedule that saw the loss `loss(log_snr)` at every one of its places.
fn observed(config: &AdaptiveScheduleConfig, loss: impl Fn(f64) -> f64) -> AdaptiveSchedule {
    let mut adaptive = config.init().unwrap();
    let span = config.log_snr_max - config.log_snr_min;
    let log_snrs: Vec<f64> = (0..=config.intervals)
        .map(|i| config.log_snr_max - span * i as f64 / config.intervals as f64)
        .collect();
    let losses: Vec<f64> = log_snrs.iter().map(|&log_snr| loss(log_snr)).collect();
    adaptive.observe(&log_snrs, &losses).unwrap();
    adaptive
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[test]
fn the_fitted_schedule_makes_the_loss_linear_in_time() {
    let config = AdaptiveScheduleConfig {
        log_snr_max: 8.0,
        log_snr_min: -8.0,
        intervals: 400,
        uniform: 1e-6,
        ..AdaptiveScheduleConfig::default()
    };
    let loss = |log_snr: f64| 0.3 + 2.0 * logistic(1.0 - log_snr);
    let knots = observed(&config, loss).fit().unwrap();
    assert_eq!(knots.log_snrs.len(), 401);

    let fitted = schedule(ScheduleKind::Knots(knots));
    let (first, last) = (loss(8.0), loss(-8.0));
    for i in 0..=100 {
        let t = f64::from(i) / 100.0;
        let expected = first + t * (last - first);
        let actual = loss(fitted.log_snr(t));
        assert!((actual - expected).abs() < 1e-3, "{t}: {actual} {expected}");
    }
}

#[test]
fn an_evenly_growing_loss_makes_the_log_snr_linear() {
    let config = AdaptiveScheduleConfig::default();
    let knots = observed(&config, |log_snr| -3.0 * log_snr).fit().unwrap();
    for (i, log_snr) in knots.log_snrs.iter().enumerate() {
        assert!((log_snr - (15.0 - 0.3 * i as f64)).abs() < 1e-9, "{i}: {log_snr}");
    }
}

#[test]
fn noisy_losses_still_give_a_falling_schedule() {
    let config = AdaptiveScheduleConfig::default();
    // Ripples, and a plateau below log-SNR 0 where the schedule hurries through.
    let loss = |log_snr: f64| (-log_snr).min(0.0) + 2.0 * (5.0 * log_snr).sin();
    let knots = observed(&config, loss).fit().unwrap();
    assert!(knots.log_snrs.is_sorted_by(|a, b| a > b));
    let middle = knots.log_snrs[50];
    assert!(middle > 4.0, "half the time above log-SNR 4, since the loss grows there: {middle}");
    schedule(ScheduleKind::Knots(knots));

    // Two observations suffice; places between and beyond are filled.
    let mut adaptive = config.init().unwrap();
    adaptive.observe(&[6.0, -6.0], &[1.0, 2.0]).unwrap();
    let fitted = schedule(ScheduleKind::Knots(adaptive.fit().unwrap()));
    assert!(fitted.log_snr(0.5).abs() < 1e-9);
    assert!((fitted.log_snr(0.25) - 3.0).abs() < 0.1);
}

#[test]
fn recent_losses_count_more() {
    let config = AdaptiveScheduleConfig { decay: 0.5, ..AdaptiveScheduleConfig::default() };
    let fit = |losses_at_0: &[f64]| {
        let mut adaptive = config.init().unwrap();
        adaptive.observe(&[15.0, -15.0], &[0.0, 1.0]).unwrap();
        adaptive.observe(&vec![0.0; losses_at_0.len()], losses_at_0).unwrap();
        adaptive.fit().unwrap()
    };
    // (0.25 * 1 + 0.5 * 0 + 0.5) / 1.75 = 3 / 7 = 0.25 / 1.75 + 0.5 / 1.75.
    let averaged = fit(&[1.0, 0.0, 0.5]);
    let equal = fit(&[3.0 / 7.0]);
    for (a, b) in averaged.log_snrs.iter().zip(&equal.log_snrs) {
        assert!((a - b).abs() < 1e-9, "{a} {b}");
    }
    assert_ne!(averaged, fit(&[0.5]));
}

#[test]
fn adaptive_schedules_are_saved_and_restored() {
    // Whole numbers, which JSON keeps to the last digit.
    let saved = observed(&AdaptiveScheduleConfig::default(), |log_snr| -log_snr.round());
    let json = serde_json::to_string(&saved).unwrap();
    let restored: AdaptiveSchedule = serde_json::from_str(&json).unwrap();
    assert_eq!(restored, saved);
    assert_eq!(restored.fit().unwrap(), saved.fit().unwrap());

    let mut broken = serde_json::to_value(&saved).unwrap();
    broken["averages"].as_array_mut().unwrap().pop();
    let error = serde_json::from_value::<AdaptiveSchedule>(broken).unwrap_err();
    assert!(error.to_string().contains("100 averages where its settings need 101"), "{error}");
    let unknown = serde_json::from_str::<AdaptiveScheduleConfig>(r#"{"bins": 3}"#);
    assert!(unknown.unwrap_err().to_string().contains("bins"));
}

#[test]
fn what_cannot_be_learnt_is_an_error() {
    let config = AdaptiveScheduleConfig::default();
    let error = config.init().unwrap().fit().unwrap_err();
    assert_eq!(error, DiffusionError::NoLossGrowth { observed: 0, places: 101 });
    for loss in [|_| 1.0, |log_snr: f64| log_snr] {
        let error = observed(&config, loss).fit().unwrap_err();
        assert_eq!(error, DiffusionError::NoLossGrowth { observed: 101, places: 101 });
    }

    let mut adaptive = config.init().unwrap();
    for (log_snr, loss) in [(0.0, f64::NAN), (f64::NAN, 1.0), (0.0, f64::INFINITY)] {
        let error = adaptive.observe(&[0.0, log_snr], &[1.0, loss]).unwrap_err();
        assert!(matches!(error, DiffusionError::Observation { .. }));
    }
    let error = adaptive.observe(&[0.0], &[]).unwrap_err();
    assert_eq!(error, DiffusionError::ObservationCount { log_snrs: 1, losses: 0 });
    assert_eq!(adaptive, config.init().unwrap(), "nothing of a refused batch is kept");

    let default = AdaptiveScheduleConfig::default;
    for (config, expected) in [
        (AdaptiveScheduleConfig { log_snr_max: f64::NAN, ..default() }, "log_snr_max"),
        (AdaptiveScheduleConfig { log_snr_max: 90.0, ..default() }, "log_snr_max"),
        (AdaptiveScheduleConfig { log_snr_min: 15.0, ..default() }, "log_snr_min"),
        (AdaptiveScheduleConfig { log_snr_min: -90.0, ..default() }, "log_snr_min"),
        (AdaptiveScheduleConfig { intervals: 1, ..default() }, "intervals"),
        (AdaptiveScheduleConfig { decay: 0.0, ..default() }, "decay"),
        (AdaptiveScheduleConfig { decay: 1.1, ..default() }, "decay"),
        (AdaptiveScheduleConfig { uniform: 0.0, ..default() }, "uniform"),
    ] {
        match config.init() {
            Err(DiffusionError::Setting { setting, .. }) => assert_eq!(setting, expected),
            other => panic!("{config:?}: {other:?}"),
        }
    }
}

proptest! {
    #[test]
    fn any_level_is_finite_and_whole(log_snr in -1e4..1e4_f64) {
        let level = NoiseLevel::from_log_snr(log_snr);
        prop_assert!((level.signal().powi(2) + level.noise().powi(2) - 1.0).abs() < 1e-12);
        let level = NoiseLevel::new(Family::RectifiedFlow, log_snr);
        prop_assert!((level.signal() + level.noise() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn any_schedule_falls_and_is_inverted(
        (name, kind) in select(all_kinds()),
        scale in 1e-3..1e3_f64,
        from in 0.002..0.9_f64,
        step in 1e-3..0.098_f64,
    ) {
        let schedule = config(kind, scale).init().unwrap();
        let (high, low) = (schedule.log_snr(from), schedule.log_snr(from + step));
        prop_assert!(high > low, "{} {} {}", name, high, low);
        let back = schedule.time_of(high);
        prop_assert!((back - from).abs() < 1e-9, "{} {}", name, back);
    }

    #[test]
    fn any_betas_give_a_falling_table_or_an_error(
        start in -0.1..1.1_f64,
        end in -0.1..1.1_f64,
        len in 0..300_usize,
        zero_terminal_snr in any::<bool>(),
    ) {
        let betas = Betas::Linear(LinearBetas { start, end });
        let Ok(schedule) = config(table(betas, len, zero_terminal_snr), 1.0).init() else {
            return Ok(());
        };
        let log_snrs: Vec<f64> =
            (0..len).map(|i| schedule.log_snr(i as f64 / (len - 1) as f64)).collect();
        prop_assert!(log_snrs.is_sorted_by(|a, b| a > b));
        prop_assert!(log_snrs[..len - 1].iter().all(|log_snr| log_snr.is_finite()));
        prop_assert_eq!(log_snrs[len - 1].is_finite(), !zero_terminal_snr);
    }

    #[test]
    fn any_losses_give_a_falling_schedule_or_an_error(
        losses in prop::collection::vec((-20.0..20.0_f64, -1e3..1e3_f64), 0..50),
    ) {
        let mut adaptive = AdaptiveScheduleConfig::default().init().unwrap();
        let (log_snrs, losses): (Vec<f64>, Vec<f64>) = losses.into_iter().unzip();
        adaptive.observe(&log_snrs, &losses).unwrap();
        if let Ok(knots) = adaptive.fit() {
            prop_assert!((knots.log_snrs[0] - 15.0).abs() < 1e-9);
            prop_assert!((knots.log_snrs[100] + 15.0).abs() < 1e-9);
            prop_assert!(config(ScheduleKind::Knots(knots), 1.0).init().is_ok());
        }
    }
}
