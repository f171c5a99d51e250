use burn::tensor::DType;
use latent_text_diffusion::{
    DiffusionError, Family, LossKind, LossWeight, NoiseFactors, NoiseLevel, Prediction, add_noise,
    loss_per_sample,
};

use crate::support::{assert_close, device, normal, values};

const FAMILIES: [Family; 3] =
    [Family::VariancePreserving, Family::VarianceExploding, Family::RectifiedFlow];

const PREDICTIONS: [Prediction; 5] = [
    Prediction::X0,
    Prediction::Eps,
    Prediction::V,
    Prediction::Velocity,
    Prediction::Edm { sigma_data: 0.7 },
];

const WEIGHTS: [LossWeight; 8] = [
    LossWeight::Uniform,
    LossWeight::Snr,
    LossWeight::MinSnr { gamma: 5.0 },
    LossWeight::TruncatedSnr,
    LossWeight::P2 { k: 1.0, gamma: 0.5 },
    LossWeight::Sigmoid { bias: -1.5 },
    LossWeight::Edm { sigma_data: 0.5 },
    LossWeight::Velocity,
];

/// The papers' own formulas in the space in which they state them, by PyTorch 2.15 in f64:
///
/// ```python
/// log_snr = torch.tensor([-6.0, -1.0, 0.5, 2.0, 7.0], dtype=torch.float64)
/// snr, sigma = log_snr.exp(), (-log_snr / 2).exp()
/// torch.minimum(snr, torch.full_like(snr, 5.0)) / snr        # min-SNR, eps
/// torch.minimum(snr, torch.full_like(snr, 5.0)) / (snr + 1)  # min-SNR, v
/// 1 / (1 + snr) ** 0.5                                       # P2, eps
/// torch.maximum(snr, torch.ones_like(snr))                   # truncated, x0
/// torch.sigmoid(-1.5 - log_snr)                              # sigmoid, eps
/// (sigma**2 + 0.5**2) / (sigma * 0.5) ** 2                   # EDM, denoised data
/// 1 / (sigma / (1 + sigma)) ** 2                             # rectified flow, x0
/// ```
#[test]
fn weights_are_those_of_the_papers() {
    let preserving = Family::VariancePreserving;
    for (weight, prediction, family, expected) in [
        (
            LossWeight::MinSnr { gamma: 5.0 },
            Prediction::Eps,
            preserving,
            [1.0, 1.0, 1.0, 0.6766764161830634, 0.004559409827772582],
        ),
        (
            LossWeight::MinSnr { gamma: 5.0 },
            Prediction::V,
            preserving,
            [
                0.0024726231566347748,
                0.2689414213699951,
                0.6224593312018546,
                0.5960146101105878,
                0.004555255972003227,
            ],
        ),
        (
            LossWeight::P2 { k: 1.0, gamma: 0.5 },
            Prediction::Eps,
            preserving,
            [
                0.9987629232422304,
                0.8550196364002437,
                0.6144433812794678,
                0.34525776171161965,
                0.030183624606740747,
            ],
        ),
        (
            LossWeight::TruncatedSnr,
            Prediction::X0,
            preserving,
            [1.0, 1.0, 1.6487212707001282, 7.38905609893065, 1096.6331584284585],
        ),
        (
            LossWeight::Sigmoid { bias: -1.5 },
            Prediction::Eps,
            preserving,
            [
                0.9890130573694068,
                0.3775406687981454,
                0.11920292202211755,
                0.02931223075135632,
                0.00020342697805520653,
            ],
        ),
        (
            LossWeight::Edm { sigma_data: 0.5 },
            Prediction::X0,
            Family::VarianceExploding,
            [
                4.002478752176667,
                4.367879441171442,
                5.648721270700128,
                11.38905609893065,
                1100.6331584284583,
            ],
        ),
        (
            LossWeight::Velocity,
            Prediction::X0,
            Family::RectifiedFlow,
            [
                1.1020528889123942,
                2.580940760596709,
                5.216772104075612,
                13.825619755848743,
                1163.8640623458432,
            ],
        ),
    ] {
        for (log_snr, expected) in [-6.0, -1.0, 0.5, 2.0, 7.0].into_iter().zip(expected) {
            let actual = weight.weight(NoiseLevel::new(family, log_snr), prediction);
            let error = (actual / expected - 1.0).abs();
            assert!(error < 1e-12, "{weight:?} of {prediction:?} at {log_snr}: {actual}");
        }
    }
}

#[test]
fn some_weights_are_the_unweighted_loss_of_a_prediction() {
    for log_snr in [-6.0, -1.0, 0.5, 2.0, 7.0] {
        for (weight, prediction, family) in [
            (LossWeight::Snr, Prediction::Eps, Family::VariancePreserving),
            (LossWeight::Snr, Prediction::Eps, Family::RectifiedFlow),
            (LossWeight::Edm { sigma_data: 1.0 }, Prediction::V, Family::VariancePreserving),
            (
                LossWeight::Edm { sigma_data: 0.7 },
                Prediction::Edm { sigma_data: 0.7 },
                Family::VarianceExploding,
            ),
            (LossWeight::Velocity, Prediction::Velocity, Family::RectifiedFlow),
            (LossWeight::Velocity, Prediction::Velocity, Family::VariancePreserving),
            (LossWeight::MinSnr { gamma: 1e9 }, Prediction::Eps, Family::VariancePreserving),
            (LossWeight::P2 { k: 1.0, gamma: 0.0 }, Prediction::Eps, Family::VariancePreserving),
        ] {
            let actual = weight.weight(NoiseLevel::new(family, log_snr), prediction);
            assert!((actual - 1.0).abs() < 1e-12, "{weight:?} {prediction:?} {log_snr}: {actual}");
        }
        for prediction in PREDICTIONS {
            let level = NoiseLevel::from_log_snr(log_snr);
            assert_eq!(LossWeight::Uniform.weight(level, prediction), 1.0);
        }
    }
}

/// The weighted loss of an estimate is the same number whatever the network predicts.
#[test]
fn weighted_losses_of_one_estimate_agree_over_all_predictions() {
    let shape = [6, 3, 4];
    let (x0, eps, estimate) = (normal(1, shape), normal(2, shape), normal(3, shape));
    for family in FAMILIES {
        let levels = [-4.0, -1.5, 0.0, 0.8, 2.0, 4.0].map(|l| NoiseLevel::new(family, l));
        let factors = NoiseFactors::per_sample(&levels, &device());
        let z = add_noise(x0.clone(), eps.clone(), factors.clone());
        for weight in WEIGHTS.into_iter().filter(|&weight| weight != LossWeight::Uniform) {
            let weighted = |prediction: Prediction| {
                let output = prediction.from_x0(z.clone(), factors.clone(), estimate.clone());
                let target = prediction.target(x0.clone(), eps.clone(), factors.clone());
                let weights = weight.weights(&levels, prediction, &device());
                values(loss_per_sample(LossKind::L2, output, target) * weights)
            };
            let expected = weighted(Prediction::X0);
            for prediction in PREDICTIONS {
                for (actual, expected) in weighted(prediction).into_iter().zip(&expected) {
                    let error = (actual / expected - 1.0).abs();
                    assert!(error < 1e-4, "{family:?} {weight:?} {prediction:?}: {error}");
                }
            }
        }
    }
}

#[test]
fn weights_are_finite_at_both_ends() {
    for (family, prediction) in FAMILIES.into_iter().flat_map(|f| PREDICTIONS.map(|p| (f, p))) {
        for weight in WEIGHTS {
            let at = |log_snr| weight.weight(NoiseLevel::new(family, log_snr), prediction);
            for log_snr in [f64::NEG_INFINITY, -800.0, -30.0, 30.0, 800.0, f64::INFINITY] {
                let value = at(log_snr);
                let message = format!("{family:?} {weight:?} {prediction:?} {log_snr}: {value}");
                assert!((value as f32).is_finite() && value >= 0.0, "{message}");
            }
            let relative = |x: f64, y: f64| (x / y - 1.0).abs();
            assert!(relative(at(f64::INFINITY), at(30.0)) < 1e-6, "{family:?} {weight:?}");
            if family != Family::VarianceExploding {
                assert!(relative(at(f64::NEG_INFINITY), at(-30.0)) < 1e-6, "{family:?} {weight:?}");
            }
        }
    }
}

#[test]
fn the_weights_of_a_batch_are_a_tensor() {
    let levels = [-2.0, 0.0, 3.0].map(NoiseLevel::from_log_snr);
    let weight = LossWeight::MinSnr { gamma: 5.0 };
    let tensor = weight.weights(&levels, Prediction::V, &device());
    assert_eq!((tensor.dims(), tensor.dtype()), ([3], DType::F32));
    let expected = levels.map(|level| weight.weight(level, Prediction::V) as f32);
    assert_close(&values(tensor), &expected, 1e-6);
}

#[test]
fn weights_in_settings() {
    let json = serde_json::to_string(&WEIGHTS).unwrap();
    assert_eq!(
        json,
        concat!(
            r#"["uniform","snr",{"min_snr":{"gamma":5.0}},"truncated_snr","#,
            r#"{"p2":{"k":1.0,"gamma":0.5}},{"sigmoid":{"bias":-1.5}},"#,
            r#"{"edm":{"sigma_data":0.5}},"velocity"]"#
        )
    );
    assert_eq!(serde_json::from_str::<Vec<LossWeight>>(&json).unwrap(), WEIGHTS);
    assert_eq!(LossWeight::default(), LossWeight::Uniform);
    serde_json::from_str::<LossWeight>(r#"{"min_snr":{"gamma":5.0,"k":1.0}}"#).unwrap_err();
}

#[test]
fn parameters_of_weights_are_checked() {
    for weight in WEIGHTS {
        assert_eq!(weight.check(), Ok(()));
    }
    for (weight, name) in [
        (LossWeight::MinSnr { gamma: 0.0 }, "gamma"),
        (LossWeight::MinSnr { gamma: f64::NAN }, "gamma"),
        (LossWeight::P2 { k: 0.0, gamma: 1.0 }, "k"),
        (LossWeight::P2 { k: 1.0, gamma: -0.1 }, "gamma"),
        (LossWeight::Sigmoid { bias: f64::INFINITY }, "bias"),
        (LossWeight::Edm { sigma_data: -0.5 }, "sigma_data"),
    ] {
        let error = weight.check().unwrap_err();
        assert!(
            matches!(error, DiffusionError::Setting { setting, .. } if setting == name),
            "{weight:?}: {error:?}"
        );
    }
}
