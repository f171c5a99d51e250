//! Outputs against those of LD4LG's published code with the same weights.

use burn::tensor::{Device, FloatDType, Tensor};
use latent_text_denoiser::{Conditions, DenoiserConfig, SelfCondition, SkipRule, Source};
use latent_text_nn::cast_module;
use latent_text_testing::distance;

use crate::support::{byte_mask, for_all, golden_config, golden_denoiser, golden_seq2seq, tensors};

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
        let file = tensors("golden/denoiser_uncond.safetensors");
        Self {
            z: file.tensor("io.z", device).unwrap(),
            alpha: file.tensor("io.alpha", device).unwrap(),
            estimate: file.tensor("io.self_cond", device).unwrap(),
            with_estimate: file.tensor("io.out_sc", device).unwrap(),
            without_estimate: file.tensor("io.out_null", device).unwrap(),
        }
    }

    /// The estimate, for these samples.
    fn with(&self, present: [bool; 3]) -> Conditions {
        let present = Some(Tensor::from_data(present, &self.z.device()));
        let self_cond = Some(SelfCondition { estimate: self.estimate.clone(), present });
        Conditions { self_cond, ..Conditions::default() }
    }
}

#[test]
fn without_an_estimate_the_output_is_the_published_codes() {
    let device = Device::default();
    let golden = Golden::read(&device);
    let denoiser = golden_denoiser(&golden_config(), &device);
    let output = denoiser.forward(golden.z, golden.alpha, Conditions::default());
    let error = distance(output, golden.without_estimate);
    println!("largest error {error:e}");
    assert!(error < TOLERANCE, "{error}");
}

#[test]
fn with_an_estimate_the_output_is_the_published_codes() {
    let device = Device::default();
    let golden = Golden::read(&device);
    let denoiser = golden_denoiser(&golden_config(), &device);
    let conditions = Conditions { self_cond: for_all(golden.estimate), ..Conditions::default() };
    let output = denoiser.forward(golden.z, golden.alpha, conditions);
    let error = distance(output, golden.with_estimate);
    println!("largest error {error:e}");
    assert!(error < TOLERANCE, "{error}");
}

#[test]
fn an_estimate_can_be_missing_for_some_samples() {
    let device = Device::default();
    let golden = Golden::read(&device);
    let denoiser = golden_denoiser(&golden_config(), &device);
    let conditions = golden.with([true, false, true]);
    let output = denoiser.forward(golden.z, golden.alpha, conditions);
    let expected = golden
        .with_estimate
        .slice_assign([1..2, 0..8, 0..16], golden.without_estimate.slice([1..2, 0..8, 0..16]));
    let error = distance(output, expected);
    assert!(error < TOLERANCE, "{error}");
}

#[test]
fn the_other_skip_rule_gives_other_outputs() {
    let device = Device::default();
    let golden = Golden::read(&device);
    let config = DenoiserConfig { skips: SkipRule::Symmetric, ..golden_config() };
    let denoiser = golden_denoiser(&config, &device);
    let output = denoiser.forward(golden.z, golden.alpha, Conditions::default());
    assert!(distance(output, golden.without_estimate) > 0.1);
}

#[test]
fn bf16_parameters_give_nearly_the_same_output_in_the_inputs_dtype() {
    let device = Device::default();
    let golden = Golden::read(&device);
    let denoiser = golden_denoiser(&golden_config(), &device);
    let conditions = golden.with([true; 3]);
    let denoiser = cast_module(denoiser, FloatDType::BF16);
    let output = denoiser.forward(golden.z.clone(), golden.alpha.clone(), conditions.clone());
    assert_eq!(output.dtype(), golden.z.dtype());
    let rms: f32 = golden.with_estimate.clone().square().mean().sqrt().into_scalar();
    let deviation: f32 = (output - golden.with_estimate).square().mean().sqrt().into_scalar();
    println!("relative deviation {}", deviation / rms);
    assert!(deviation / rms < 0.05, "{deviation} of {rms}");

    let z = golden.z.cast(FloatDType::BF16);
    let output = denoiser.forward(z.clone(), golden.alpha, conditions);
    assert_eq!(output.dtype(), z.dtype());
}

#[test]
fn sources_and_the_null_source_give_the_published_codes_outputs() {
    const FILE: &str = "golden/denoiser_seq2seq.safetensors";
    let device = Device::default();
    let denoiser = golden_seq2seq(&device);
    let file = tensors(FILE);
    let read = |name: &str| file.tensor::<3>(name, &device).unwrap();
    let alpha = file.tensor::<1>("io.alpha", &device).unwrap();
    let source = |present| Source {
        states: read("io.context"),
        mask: Some(byte_mask(FILE, "io.context_mask", &device)),
        present,
    };
    let output = |source| {
        let conditions = Conditions {
            self_cond: for_all(read("io.self_cond")),
            source,
            ..Conditions::default()
        };
        denoiser.forward(read("io.z"), alpha.clone(), conditions)
    };
    let (conditional, null) = (read("io.out_cond"), read("io.out_null"));
    assert!(distance(conditional.clone(), null.clone()) > 0.1);

    let with_source =
        distance(output(Some(denoiser.read_source(source(None)))), conditional.clone());
    println!("source: largest error {with_source:e}");
    assert!(with_source < TOLERANCE, "{with_source}");
    let without_source = distance(output(None), null.clone());
    println!("null source: largest error {without_source:e}");
    assert!(without_source < TOLERANCE, "{without_source}");

    let present = Tensor::from_data([false, true, false], &device);
    let some = output(Some(denoiser.read_source(source(Some(present)))));
    let row = conditional.slice([1..2, 0..8, 0..16]);
    let per_sample = distance(some, null.slice_assign([1..2, 0..8, 0..16], row));
    assert!(per_sample < TOLERANCE, "{per_sample}");
}
