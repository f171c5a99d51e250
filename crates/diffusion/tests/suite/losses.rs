use burn::tensor::{DType, FloatDType};
use latent_text_diffusion::{LossKind, loss, loss_per_sample};

use crate::support::{assert_close, normal, tensor, values};

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
    let output = normal(1, [2, 3, 4]).cast(FloatDType::BF16);
    let target = normal(2, [2, 3, 4]);
    for kind in [LossKind::L2, LossKind::L1, LossKind::SmoothL1] {
        let half = loss(kind, output.clone(), target.clone());
        assert_eq!(half.dtype(), DType::F32);
        let single = loss(kind, output.clone().cast(FloatDType::F32), target.clone());
        assert_eq!(values(half), values(single));
    }
}

#[test]
fn names_in_settings() {
    let json = serde_json::to_string(&[LossKind::L2, LossKind::L1, LossKind::SmoothL1]).unwrap();
    assert_eq!(json, r#"["l2","l1","smooth_l1"]"#);
}
