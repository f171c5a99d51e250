use std::path::PathBuf;

use latent_text_diffusion::schedule::{BetaLinear, Cosine, Sigmoid, SimpleLinear};
use latent_text_diffusion::{DiffusionError, NoiseLevel, NoiseScheduleConfig, ScheduleKind};
use safetensors::SafeTensors;

use crate::support::{device, values};

fn kinds() -> [(&'static str, ScheduleKind); 4] {
    [
        ("cosine", ScheduleKind::Cosine(Cosine::default())),
        ("simple_linear", ScheduleKind::SimpleLinear(SimpleLinear {})),
        ("beta_linear", ScheduleKind::BetaLinear(BetaLinear {})),
        ("sigmoid", ScheduleKind::Sigmoid(Sigmoid::default())),
    ]
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
    for (_, kind) in kinds() {
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
        assert!((level.log_alpha() - level.alpha().ln()).abs() < 1e-12);
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
