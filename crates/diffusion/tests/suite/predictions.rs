use burn::tensor::{DType, FloatDType, Tensor};
use latent_text_diffusion::{NoiseFactors, NoiseLevel, Prediction, add_noise, rescale_norm};

use crate::support::{assert_close, device, normal, supports, tensor, values};

const SHAPE: [usize; 3] = [3, 4, 5];
const PREDICTIONS: [Prediction; 3] = [Prediction::X0, Prediction::Eps, Prediction::V];

fn alphas(alphas: [f32; 3]) -> Tensor<1> {
    Tensor::from_floats(alphas, &device())
}

#[test]
fn formulas_on_numbers() {
    // alpha = 0.36: sqrt(alpha) = 0.6, sqrt(1 - alpha) = 0.8.
    let level = NoiseLevel::from_log_snr((0.36_f64 / 0.64).ln());
    let one = |value: f32| tensor(vec![value], [1, 1, 1]);
    let (x0, eps) = (one(2.0), one(-1.0));
    let z = add_noise(x0.clone(), eps.clone(), level);
    assert_close(&values(z.clone()), &[0.4], 1e-6);
    assert_close(&values(Prediction::V.target(x0, eps, level)), &[-2.2], 1e-6);

    let output = |prediction: Prediction| {
        let x0 = prediction.to_x0(z.clone(), level, one(0.5));
        let eps = prediction.to_eps(z.clone(), level, one(0.5));
        [values(x0)[0], values(eps)[0]]
    };
    assert_close(&output(Prediction::X0), &[0.5, 0.125], 1e-6);
    assert_close(&output(Prediction::Eps), &[0.0, 0.5], 1e-6);
    assert_close(&output(Prediction::V), &[-0.16, 0.62], 1e-6);
}

#[test]
fn a_perfect_network_gives_back_x0_and_eps() {
    let (x0, eps) = (normal(1, SHAPE), normal(2, SHAPE));
    let alpha = alphas([0.1, 0.5, 0.97]);
    let z = add_noise(x0.clone(), eps.clone(), alpha.clone());
    for prediction in PREDICTIONS {
        let output = prediction.target(x0.clone(), eps.clone(), alpha.clone());
        let to_x0 = prediction.to_x0(z.clone(), alpha.clone(), output.clone());
        let to_eps = prediction.to_eps(z.clone(), alpha.clone(), output);
        assert_close(&values(to_x0), &values(x0.clone()), 1e-5);
        assert_close(&values(to_eps), &values(eps.clone()), 1e-5);
    }
}

#[test]
fn any_output_stands_for_an_x0_and_eps_that_make_up_z() {
    let (z, output) = (normal(3, SHAPE), normal(4, SHAPE));
    let alpha = alphas([0.02, 0.5, 0.98]);
    for prediction in PREDICTIONS {
        let x0 = prediction.to_x0(z.clone(), alpha.clone(), output.clone());
        let eps = prediction.to_eps(z.clone(), alpha.clone(), output.clone());
        let again = prediction.target(x0.clone(), eps.clone(), alpha.clone());
        assert_close(&values(add_noise(x0, eps, alpha.clone())), &values(z.clone()), 1e-5);
        assert_close(&values(again), &values(output.clone()), 2e-5);
    }
}

#[test]
fn a_shared_level_equals_one_alpha_a_sample() {
    let (z, output) = (normal(5, SHAPE), normal(6, SHAPE));
    let level = NoiseLevel::from_log_snr(0.7);
    let per_sample: NoiseFactors = alphas([level.alpha() as f32; 3]).into();
    for prediction in PREDICTIONS {
        let x0 = prediction.to_x0(z.clone(), level, output.clone());
        let eps = prediction.to_eps(z.clone(), level, output.clone());
        let x0_tensor = prediction.to_x0(z.clone(), per_sample.clone(), output.clone());
        let eps_tensor = prediction.to_eps(z.clone(), per_sample.clone(), output.clone());
        assert_close(&values(x0), &values(x0_tensor), 2e-6);
        assert_close(&values(eps), &values(eps_tensor), 2e-6);
    }
}

#[test]
fn conversions_are_finite_at_both_ends() {
    let (z, output) = (normal(7, SHAPE), normal(8, SHAPE));
    // The last two are what f32 makes of alphas nearer to the ends than it can hold.
    let per_sample = [alphas([3.06e-7, 0.5, 1.0 - 3.06e-7]), alphas([0.0, 0.5, 1.0])];
    let shared = [-28.8, -15.0, 15.0, 28.8].map(NoiseLevel::from_log_snr);
    let factors = per_sample.map(NoiseFactors::from).into_iter().chain(shared.map(Into::into));
    for factors in factors {
        for prediction in PREDICTIONS {
            let x0 = prediction.to_x0(z.clone(), factors.clone(), output.clone());
            let eps = prediction.to_eps(z.clone(), factors.clone(), output.clone());
            assert!(values(x0).iter().chain(&values(eps)).all(|x| x.is_finite()));
        }
    }

    // With v nothing is divided by: near the ends z is x0 or eps, and v the other one.
    let [noise, signal] = [-28.8, 28.8].map(NoiseLevel::from_log_snr);
    let eps = Prediction::V.to_eps(z.clone(), noise, output.clone());
    let x0 = Prediction::V.to_x0(z.clone(), signal, output);
    assert_close(&values(eps), &values(z.clone()), 3e-6);
    assert_close(&values(x0), &values(z), 3e-6);
}

#[test]
fn arithmetic_is_f32_for_half_precision_inputs() {
    if !supports(FloatDType::BF16) {
        return;
    }
    let (z, output) = (normal(9, SHAPE), normal(10, SHAPE).cast(FloatDType::BF16));
    let level = NoiseLevel::from_log_snr(0.3);
    let from_half = Prediction::V.to_x0(z.clone(), level, output.clone());
    assert_eq!(from_half.dtype(), DType::F32);
    let from_single = Prediction::V.to_x0(z, level, output.cast(FloatDType::F32));
    assert_eq!(values(from_half), values(from_single));
}

#[test]
fn rescaled_vectors_have_the_norm_sqrt_dim() {
    let x = tensor(vec![3.0, 4.0, 0.0, 0.0, -0.001, 0.0, 0.0, 0.0], [1, 2, 4]);
    let expected = [1.2, 1.6, 0.0, 0.0, -2.0, 0.0, 0.0, 0.0];
    assert_close(&values(rescale_norm(x)), &expected, 1e-6);

    let zero = rescale_norm(tensor(vec![0.0; 4], [1, 1, 4]));
    assert_eq!(values(zero), [0.0; 4]);
}

#[test]
fn names_in_settings() {
    let json = serde_json::to_string(&PREDICTIONS).unwrap();
    assert_eq!(json, r#"["x0","eps","v"]"#);
    assert_eq!(serde_json::from_str::<[Prediction; 3]>(&json).unwrap(), PREDICTIONS);
}
