//! Outputs against LD4LG's formulas written down in PyTorch (`fixtures/formulas.py`), where every
//! sample is run on its own, cut to its real latents and tokens. What the published code makes of the
//! other latents is of no use, but known too.

use burn::tensor::{Bool, Device, FloatDType, Int, Tensor};
use latent_text_denoiser::{
    Conditions, Denoiser, DenoiserConfig, EncoderSpaceDenoiser, EncoderSpaceDenoiserConfig,
    SelfCondition, SkipRule, Source,
};
use latent_text_nn::cast_module;
use latent_text_nn::weights::TensorFile;

use crate::support::{error, for_all, tensors, with_weights};

const TOLERANCE: f32 = 2e-5;
const LATENT: &str = "formulas/latent_denoiser.safetensors";
const ENCODER_SPACE: &str = "formulas/encoder_space_denoiser.safetensors";

/// The inputs and outputs of a fixture.
struct Recorded {
    file: TensorFile,
    device: Device,
}

impl Recorded {
    fn open(name: &str) -> Self {
        Self { file: tensors(name), device: Device::default() }
    }

    fn floats<const D: usize>(&self, name: &str) -> Tensor<D> {
        self.file.tensor(&format!("io.{name}"), &self.device).unwrap()
    }

    fn ints(&self, name: &str) -> Tensor<1, Int> {
        self.file.ints(&format!("io.{name}"), &self.device).unwrap()
    }

    fn mask(&self, name: &str) -> Tensor<2, Bool> {
        self.file.bools(&format!("io.{name}"), &self.device).unwrap()
    }

    fn estimate_for<const N: usize>(&self, samples: [bool; N]) -> Option<SelfCondition> {
        let present = Some(Tensor::from_data(samples, &self.device));
        Some(SelfCondition { estimate: self.floats("estimate"), present })
    }

    fn source(&self, present: Option<[bool; 4]>) -> Source {
        let present = present.map(|samples| Tensor::from_data(samples, &self.device));
        Source { states: self.floats("source"), mask: Some(self.mask("source_mask")), present }
    }

    /// `output` with zeros in the place of latents that are not real.
    fn real(&self, output: Tensor<3>) -> Tensor<3> {
        let shape = output.dims();
        let hidden = self.mask("mask").bool_not().unsqueeze_dim::<3>(2).expand(shape);
        output.mask_fill(hidden, 0.0)
    }
}

fn latent_denoiser(skips: SkipRule, device: &Device) -> Denoiser {
    let config = DenoiserConfig {
        latent_dim: 6,
        max_latents: 10,
        dim: 16,
        depth: 6,
        head_dim: 8,
        skips,
        classes: Some(3),
        source_dim: Some(12),
        ..Default::default()
    };
    with_weights(config.init(device), LATENT, |path| config.reference_name(path))
}

fn encoder_space_denoiser(device: &Device) -> EncoderSpaceDenoiser {
    let config = EncoderSpaceDenoiserConfig {
        latent_dim: 6,
        max_latents: 40,
        dim: 16,
        depth: 3,
        head_dim: 8,
        classes: Some(2),
        ..Default::default()
    };
    with_weights(config.init(device), ENCODER_SPACE, |path| config.reference_name(path))
}

#[track_caller]
fn assert_close(what: &str, output: Tensor<3>, expected: Tensor<3>) {
    let error = error(output, expected);
    println!("{what}: largest error {error:e}");
    assert!(error < TOLERANCE, "{what}: {error}");
}

#[test]
fn latent_denoisers_follow_the_formulas_under_all_conditions() {
    let io = Recorded::open(LATENT);
    for (rule, skips) in [("stack", SkipRule::ReferenceStack), ("symmetric", SkipRule::Symmetric)] {
        let denoiser = latent_denoiser(skips, &io.device);
        let run = |conditions| denoiser.forward(io.floats("z"), io.floats("alpha"), conditions);
        let expected = |case: &str| io.floats::<3>(&format!("{rule}.{case}"));
        let all = Conditions {
            self_cond: for_all(io.floats("estimate")),
            classes: Some(Tensor::from_data([0, 3, 2, 1], &io.device)),
            source: Some(denoiser.read_source(io.source(None))),
            mask: Some(io.mask("mask")),
        };
        let output = run(all.clone());
        assert_close("all", io.real(output.clone()), expected("all"));
        assert_close("all with the rest", output, expected("all_padded"));
        let some = Conditions {
            self_cond: io.estimate_for([true, false, true, false]),
            source: Some(denoiser.read_source(io.source(Some([true, true, false, false])))),
            ..all
        };
        assert_close("some", io.real(run(some)), expected("some"));
        assert_close("none", run(Conditions::default()), expected("none"));
    }
}

#[test]
fn encoder_space_denoisers_follow_the_formulas_under_all_conditions() {
    let io = Recorded::open(ENCODER_SPACE);
    let denoiser = encoder_space_denoiser(&io.device);
    let run = |conditions| denoiser.forward(io.floats("z"), io.ints("steps"), conditions);
    let all = Conditions {
        self_cond: for_all(io.floats("estimate")),
        classes: Some(Tensor::from_data([1, 2, 0], &io.device)),
        source: None,
        mask: Some(io.mask("mask")),
    };
    let output = run(all.clone());
    assert_close("all", io.real(output.clone()), io.floats("all"));
    assert_close("all with the rest", output, io.floats("all_padded"));
    let some = Conditions { self_cond: io.estimate_for([true, false, true]), ..all };
    assert_close("some", io.real(run(some)), io.floats("some"));
    assert_close("none", run(Conditions::default()), io.floats("none"));
}

#[test]
fn latents_that_are_not_real_change_nothing() {
    let io = Recorded::open(ENCODER_SPACE);
    let denoiser = encoder_space_denoiser(&io.device);
    let output = |padding: f32| {
        let shape = io.floats::<3>("z").dims();
        let hidden = io.mask("mask").bool_not().unsqueeze_dim::<3>(2).expand(shape);
        let padded = |name| io.floats::<3>(name).mask_fill(hidden.clone(), padding);
        let conditions = Conditions {
            self_cond: for_all(padded("estimate")),
            mask: Some(io.mask("mask")),
            ..Conditions::default()
        };
        io.real(denoiser.forward(padded("z"), io.ints("steps"), conditions))
    };
    assert_eq!(error(output(0.0), output(100.0)), 0.0);
}

#[test]
fn bf16_parameters_give_nearly_the_same_output() {
    let io = Recorded::open(ENCODER_SPACE);
    let denoiser = cast_module(encoder_space_denoiser(&io.device), FloatDType::BF16);
    let conditions = Conditions {
        self_cond: for_all(io.floats("estimate")),
        classes: Some(Tensor::from_data([1, 2, 0], &io.device)),
        source: None,
        mask: Some(io.mask("mask")),
    };
    let output = denoiser.forward(io.floats("z"), io.ints("steps"), conditions);
    let expected = io.floats::<3>("all");
    let output = io.real(output);
    assert_eq!(output.dtype(), expected.dtype());
    let rms: f32 = expected.clone().square().mean().sqrt().into_scalar();
    let deviation: f32 = (output - expected).square().mean().sqrt().into_scalar();
    println!("relative deviation {}", deviation / rms);
    assert!(deviation / rms < 0.05, "{deviation} of {rms}");
}
