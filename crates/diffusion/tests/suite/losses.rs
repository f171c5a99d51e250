use burn::tensor::{Bool, DType, FloatDType, Tensor, TensorData};
use latent_text_diffusion::{
    DiffusionError, LossKind, loss, loss_per_sample, masked_loss_per_sample, weighted_loss,
};

use crate::support::{assert_close, device, normal, supports, tensor, values};

const KINDS: [LossKind; 4] =
    [LossKind::L2, LossKind::L1, LossKind::SmoothL1, LossKind::Huber { delta: 0.5 }];

#[test]
fn losses_on_numbers() {
    // Differences: 0.5, -2, 0, 1 in the first sample and 3, 0, 0, 0 in the second.
    let output = tensor(vec![1.5, 0.0, 1.0, 2.0, 3.0, 1.0, 1.0, 1.0], [2, 2, 2]);
    let target = tensor(vec![1.0, 2.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0], [2, 2, 2]);
    for (kind, expected) in [
        (LossKind::L2, [5.25 / 4.0, 9.0 / 4.0]),
        (LossKind::L1, [3.5 / 4.0, 3.0 / 4.0]),
        (LossKind::SmoothL1, [(0.125 + 1.5 + 0.5) / 4.0, 2.5 / 4.0]),
    ] {
        let per_sample = loss_per_sample(kind, output.clone(), target.clone());
        assert_eq!(per_sample.dims(), [2]);
        assert_close(&values(per_sample), &expected, 1e-6);
        let mean = loss(kind, output.clone(), target.clone());
        assert_close(&values(mean), &[(expected[0] + expected[1]) / 2.0], 1e-6);
    }
}

#[test]
fn losses_of_half_precision_outputs_are_computed_in_f32() {
    if !supports(FloatDType::BF16) {
        return;
    }
    let output = normal(1, [2, 3, 4]).cast(FloatDType::BF16);
    let target = normal(2, [2, 3, 4]);
    for kind in KINDS {
        let half = loss(kind, output.clone(), target.clone());
        assert_eq!(half.dtype(), DType::F32);
        let single = loss(kind, output.clone().cast(FloatDType::F32), target.clone());
        assert_eq!(values(half), values(single));
    }
}

#[test]
fn names_in_settings() {
    let json = serde_json::to_string(&KINDS).unwrap();
    assert_eq!(json, r#"["l2","l1","smooth_l1",{"huber":{"delta":0.5}}]"#);
    assert_eq!(serde_json::from_str::<Vec<LossKind>>(&json).unwrap(), KINDS);
    serde_json::from_str::<LossKind>(r#"{"huber":{"delta":0.5,"beta":1.0}}"#).unwrap_err();
}

/// Numbers of PyTorch 2.15:
///
/// ```python
/// d = torch.tensor([0.5, -2.0, 1.0, 3.0, 0.0, -0.25, 0.75, -4.5], dtype=torch.float64)
/// torch.nn.functional.huber_loss(d, torch.zeros_like(d), reduction="none", delta=delta)
/// ```
#[test]
fn hubers_loss_is_that_of_pytorch() {
    let differences = [0.5, -2.0, 1.0, 3.0, 0.0, -0.25, 0.75, -4.5];
    for (delta, expected) in [
        (0.25, [0.09375, 0.46875, 0.21875, 0.71875, 0.0, 0.03125, 0.15625, 1.09375]),
        (1.0, [0.125, 1.5, 0.5, 2.5, 0.0, 0.03125, 0.28125, 4.0]),
        (2.5, [0.125, 2.0, 0.5, 4.375, 0.0, 0.03125, 0.28125, 8.125]),
    ] {
        let output = Tensor::<1>::from_floats(differences, &device());
        let target = output.zeros_like();
        let losses = loss_per_sample(LossKind::Huber { delta }, output, target);
        assert_close(&values(losses), &expected, 1e-6);
    }
}

#[test]
fn the_loss_does_not_depend_on_how_a_sample_is_laid_out() {
    let (output, target) = (normal(1, [2, 6, 4]), normal(2, [2, 6, 4]));
    for kind in KINDS {
        let expected = values(loss_per_sample(kind, output.clone(), target.clone()));
        let flat = |x: &Tensor<3>| x.clone().reshape([2, 24]);
        let image = |x: &Tensor<3>| x.clone().reshape([2, 3, 2, 4]);
        let losses = loss_per_sample(kind, flat(&output), flat(&target));
        assert_close(&values(losses), &expected, 1e-6);
        let losses = loss_per_sample(kind, image(&output), image(&target));
        assert_close(&values(losses), &expected, 1e-6);
    }
}

#[test]
#[should_panic(expected = "shapes of the network's output and of its target")]
fn a_target_is_not_broadcast() {
    loss(LossKind::L2, normal(1, [2, 3, 4]), normal(2, [2, 1, 4]));
}

#[test]
fn weights_multiply_the_samples_and_are_not_normalised() {
    let output = tensor(vec![1.0, 1.0, 2.0, 2.0, 3.0, 3.0], [3, 1, 2]);
    let weights = Tensor::from_floats([2.0, 0.0, 0.5], &device());
    let loss = weighted_loss(LossKind::L2, output.clone(), output.zeros_like(), weights);
    assert_eq!(loss.dims(), [1]);
    assert_close(&values(loss), &[(2.0 + 0.5 * 9.0) / 3.0], 1e-6);
}

#[test]
#[should_panic(expected = "one loss weight a sample")]
fn one_weight_is_not_broadcast() {
    let output = normal(1, [2, 3, 4]);
    weighted_loss(LossKind::L2, output.clone(), output, Tensor::from_floats([1.0], &device()));
}

#[test]
fn masked_losses_on_numbers() {
    let mask = mask([[true, true, false], [false, false, true], [false, false, false]]);
    let zeros = Tensor::<3>::zeros([3, 3, 2], &device());
    let output = tensor((1..=18).map(|i| i as f32).collect(), [3, 3, 2]);
    for (kind, expected) in [
        (LossKind::L2, [30.0 / 4.0, (121.0 + 144.0) / 2.0, 0.0]),
        (LossKind::L1, [10.0 / 4.0, 23.0 / 2.0, 0.0]),
        (LossKind::SmoothL1, [8.0 / 4.0, 22.0 / 2.0, 0.0]),
        (LossKind::Huber { delta: 2.0 }, [(0.5 + 2.0 + 4.0 + 6.0) / 4.0, (20.0 + 22.0) / 2.0, 0.0]),
    ] {
        let losses = masked_loss_per_sample(kind, output.clone(), zeros.clone(), mask.clone());
        assert_eq!(losses.dims(), [3]);
        assert_close(&values(losses), &expected, 1e-6);
    }
}

#[test]
fn a_masked_loss_is_the_loss_of_the_valid_positions() {
    let (output, target) = (normal(1, [2, 5, 4]), normal(2, [2, 5, 4]));
    let valid = |x: &Tensor<3>| x.clone().narrow(1, 0, 3);
    let first_three = mask([[true, true, true, false, false]; 2]);
    let all = mask([[true; 5]; 2]);
    for kind in KINDS {
        let masked = |mask| masked_loss_per_sample(kind, output.clone(), target.clone(), mask);
        let expected = loss_per_sample(kind, valid(&output), valid(&target));
        assert_close(&values(masked(first_three.clone())), &values(expected), 1e-6);
        let expected = loss_per_sample(kind, output.clone(), target.clone());
        assert_close(&values(masked(all.clone())), &values(expected), 1e-6);
    }
}

#[test]
fn values_that_are_not_finite_do_not_leak_through_the_mask() {
    let mask = mask([[true, false, false]]);
    let bad = tensor(vec![0.5, -1.5, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0], [1, 3, 2]);
    for kind in KINDS {
        let output = bad.clone().autodiff().require_grad();
        let losses =
            masked_loss_per_sample(kind, output.clone(), output.zeros_like(), mask.clone());
        let gradients = losses.clone().sum().backward();
        let gradient = values(output.grad(&gradients).unwrap());
        assert!(values(losses.inner())[0] > 0.0, "{kind:?}");
        assert!(gradient[..2].iter().all(|g| g.is_finite() && *g != 0.0), "{kind:?} {gradient:?}");
        assert_eq!(gradient[2..], [0.0; 4], "{kind:?}");
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    // Differences away from the kinks at 0, +-0.5 and +-1 by more than the step.
    let differences = [0.3, -0.7, 1.4, -0.2, 2.5, 0.8, -1.3, -0.4, 0.1, -3.0, 0.65, 1.1];
    let target = normal(3, [2, 3, 2]);
    let at = target.clone() + tensor(differences.to_vec(), [2, 3, 2]);
    let mask = mask([[true, false, true], [true, true, false]]);
    let weights = Tensor::from_floats([0.7, 2.0], &device());
    for kind in KINDS {
        check_gradient(&at, |output| weighted_loss(kind, output, target.clone(), weights.clone()));
        check_gradient(&at, |output| {
            let losses = masked_loss_per_sample(kind, output, target.clone(), mask.clone());
            (losses * weights.clone()).sum()
        });
    }
}

/// Compares backpropagation at `at` with central differences of the same loss.
fn check_gradient(at: &Tensor<3>, loss: impl Fn(Tensor<3>) -> Tensor<1>) {
    const STEP: f32 = 0.02;
    let tracked = at.clone().autodiff().require_grad();
    let gradients = loss(tracked.clone()).backward();
    let actual = values(tracked.grad(&gradients).unwrap());

    let (start, shape) = (values(at.clone()), at.dims());
    let moved = |index: usize, step: f32| {
        let mut moved = start.clone();
        moved[index] += step;
        values(loss(tensor(moved, shape)))[0]
    };
    let slope = |index| (moved(index, STEP) - moved(index, -STEP)) / (2.0 * STEP);
    let expected: Vec<f32> = (0..start.len()).map(slope).collect();
    assert_close(&actual, &expected, 2e-4);
    assert!(actual.iter().any(|g| g.abs() > 0.05), "{actual:?}");
}

#[test]
fn hubers_delta_is_checked() {
    for kind in KINDS {
        assert_eq!(kind.check(), Ok(()));
    }
    for delta in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = LossKind::Huber { delta }.check().unwrap_err();
        assert!(matches!(error, DiffusionError::Setting { setting: "delta", .. }), "{error:?}");
    }
    let error = LossKind::Huber { delta: -1.0 }.check().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the huber loss cannot have delta = -1: it must be a finite number above 0"
    );
}

fn mask<const B: usize, const L: usize>(rows: [[bool; L]; B]) -> Tensor<2, Bool> {
    Tensor::from_data(TensorData::new(rows.as_flattened().to_vec(), [B, L]), &device())
}
