//! Outputs against those of LD4LG's published code with the same weights.

mod common;

use burn::tensor::{Device, FloatDType, Tensor};
use common::{error, golden, golden_config, golden_denoiser};
use latent_text_denoiser::{DenoiserConfig, SelfCondition, SkipRule};
use latent_text_nn::cast_module;

/// Ten times the error of a faithful implementation in f32.
const TOLERANCE: f32 = 2e-5;

struct Golden {
    z: Tensor<3>,
    alpha: Tensor<1>,
    estimate: Tensor<3>,
    with_estimate: Tensor<3>,
    without_estimate: Tensor<3>,
}

impl Golden {
    fn read(device: &Device) -> Self {
        let file = golden("denoiser_uncond.safetensors");
        Self {
            z: file.tensor("io.z", device).unwrap(),
            alpha: file.tensor("io.alpha", device).unwrap(),
            estimate: file.tensor("io.self_cond", device).unwrap(),
            with_estimate: file.tensor("io.out_sc", device).unwrap(),
            without_estimate: file.tensor("io.out_null", device).unwrap(),
        }
    }

    fn self_cond(&self, present: Option<[bool; 3]>) -> Option<SelfCondition> {
        let device = self.z.device();
        let present = present.map(|rows| Tensor::from_data(rows, &device));
        Some(SelfCondition { estimate: self.estimate.clone(), present })
    }
}

#[test]
fn without_an_estimate_the_output_is_the_published_codes() {
    let device = Device::default();
    let golden = Golden::read(&device);
    let denoiser = golden_denoiser(&golden_config(), &device);
    let output = denoiser.forward(golden.z, golden.alpha, None, None);
    let error = error(output, golden.without_estimate);
    println!("largest error {error:e}");
    assert!(error < TOLERANCE, "{error}");
}

#[test]
fn with_an_estimate_the_output_is_the_published_codes() {
    let device = Device::default();
    let golden = Golden::read(&device);
    let denoiser = golden_denoiser(&golden_config(), &device);
    let self_cond = golden.self_cond(None);
    let output = denoiser.forward(golden.z, golden.alpha, self_cond, None);
    let error = error(output, golden.with_estimate);
    println!("largest error {error:e}");
    assert!(error < TOLERANCE, "{error}");
}

#[test]
fn an_estimate_can_be_missing_for_some_samples() {
    let device = Device::default();
    let golden = Golden::read(&device);
    let denoiser = golden_denoiser(&golden_config(), &device);
    let self_cond = golden.self_cond(Some([true, false, true]));
    let output = denoiser.forward(golden.z, golden.alpha, self_cond, None);
    let expected = golden
        .with_estimate
        .slice_assign([1..2, 0..8, 0..16], golden.without_estimate.slice([1..2, 0..8, 0..16]));
    let error = error(output, expected);
    assert!(error < TOLERANCE, "{error}");
}

#[test]
fn the_other_skip_rule_gives_other_outputs() {
    let device = Device::default();
    let golden = Golden::read(&device);
    let config = DenoiserConfig { skips: SkipRule::Symmetric, ..golden_config() };
    let denoiser = golden_denoiser(&config, &device);
    let output = denoiser.forward(golden.z, golden.alpha, None, None);
    assert!(error(output, golden.without_estimate) > 0.1);
}

#[test]
fn bf16_parameters_give_nearly_the_same_output_in_the_inputs_dtype() {
    let device = Device::default();
    let golden = Golden::read(&device);
    let denoiser = golden_denoiser(&golden_config(), &device);
    let self_cond = golden.self_cond(Some([true; 3]));
    let denoiser = cast_module(denoiser, FloatDType::BF16);
    let output = denoiser.forward(golden.z.clone(), golden.alpha.clone(), self_cond.clone(), None);
    assert_eq!(output.dtype(), golden.z.dtype());
    let rms: f32 = golden.with_estimate.clone().square().mean().sqrt().into_scalar();
    let deviation: f32 = (output - golden.with_estimate).square().mean().sqrt().into_scalar();
    println!("relative deviation {}", deviation / rms);
    assert!(deviation / rms < 0.05, "{deviation} of {rms}");

    let z = golden.z.cast(FloatDType::BF16);
    let output = denoiser.forward(z.clone(), golden.alpha, self_cond, None);
    assert_eq!(output.dtype(), z.dtype());
}
