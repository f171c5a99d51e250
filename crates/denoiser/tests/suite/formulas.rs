//! Outputs against LD4LG's formulas written down in PyTorch (`fixtures/formulas.py`), where every
//! sample is run on its own, cut to its real latents and tokens. What the published code makes of the
//! other latents is of no use, but known too.

use burn::tensor::{Device, FloatDType, Tensor};
use latent_text_denoiser::{
    Conditions, Denoiser, DenoiserConfig, EncoderSpaceDenoiser, EncoderSpaceDenoiserConfig,
    SelfCondition, SkipRule, Source,
};
use latent_text_nn::cast_module;
use latent_text_testing::{Recorded, distance, without_padding};

use crate::support::{for_all, with_weights};

const TOLERANCE: f32 = 2e-5;
const LATENT: &str = "formulas/latent_denoiser.safetensors";
const ENCODER_SPACE: &str = "formulas/encoder_space_denoiser.safetensors";

fn recorded(file: &str) -> Recorded {
    Recorded::beside_weights(file, &Device::default())
}

/// The recorded estimate, for these samples.
fn estimate_for<const N: usize>(io: &Recorded, samples: [bool; N]) -> Option<SelfCondition> {
    let present = Some(Tensor::from_data(samples, &Device::default()));
    Some(SelfCondition { estimate: io.floats("estimate"), present })
}

fn source(io: &Recorded, present: Option<[bool; 4]>) -> Source {
    let present = present.map(|samples| Tensor::from_data(samples, &Device::default()));
    Source { states: io.floats("source"), mask: Some(io.mask("source_mask")), present }
}

/// `output` with zeros in the place of latents that are not real.
fn real(io: &Recorded, output: Tensor<3>) -> Tensor<3> {
    without_padding(output, io.mask("mask"))
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
    let error = distance(output, expected);
    println!("{what}: largest error {error:e}");
    assert!(error < TOLERANCE, "{what}: {error}");
}

#[test]
fn latent_denoisers_follow_the_formulas_under_all_conditions() {
    let (io, device) = (recorded(LATENT), Device::default());
    for (rule, skips) in [("stack", SkipRule::ReferenceStack), ("symmetric", SkipRule::Symmetric)] {
        let denoiser = latent_denoiser(skips, &device);
        let run = |conditions| denoiser.forward(io.floats("z"), io.floats("alpha"), conditions);
        let expected = |case: &str| io.floats::<3>(&format!("{rule}.{case}"));
        let all = Conditions {
            self_cond: for_all(io.floats("estimate")),
            classes: Some(Tensor::from_data([0, 3, 2, 1], &device)),
            source: Some(denoiser.read_source(source(&io, None))),
            mask: Some(io.mask("mask")),
        };
        let output = run(all.clone());
        assert_close("all", real(&io, output.clone()), expected("all"));
        assert_close("all with the rest", output, expected("all_padded"));
        let some = Conditions {
            self_cond: estimate_for(&io, [true, false, true, false]),
            source: Some(denoiser.read_source(source(&io, Some([true, true, false, false])))),
            ..all
        };
        assert_close("some", real(&io, run(some)), expected("some"));
        assert_close("none", run(Conditions::default()), expected("none"));
    }
}

#[test]
fn encoder_space_denoisers_follow_the_formulas_under_all_conditions() {
    let (io, device) = (recorded(ENCODER_SPACE), Device::default());
    let denoiser = encoder_space_denoiser(&device);
    let run = |conditions| denoiser.forward(io.floats("z"), io.ints("steps"), conditions);
    let all = Conditions {
        self_cond: for_all(io.floats("estimate")),
        classes: Some(Tensor::from_data([1, 2, 0], &device)),
        source: None,
        mask: Some(io.mask("mask")),
    };
    let output = run(all.clone());
    assert_close("all", real(&io, output.clone()), io.floats("all"));
    assert_close("all with the rest", output, io.floats("all_padded"));
    let some = Conditions { self_cond: estimate_for(&io, [true, false, true]), ..all };
    assert_close("some", real(&io, run(some)), io.floats("some"));
    assert_close("none", run(Conditions::default()), io.floats("none"));
}

#[test]
fn latents_that_are_not_real_change_nothing() {
    let (io, device) = (recorded(ENCODER_SPACE), Device::default());
    let denoiser = encoder_space_denoiser(&device);
    let output = |padding: f32| {
        let shape = io.floats::<3>("z").dims();
        let hidden = io.mask("mask").bool_not().unsqueeze_dim::<3>(2).expand(shape);
        let padded = |name| io.floats::<3>(name).mask_fill(hidden.clone(), padding);
        let conditions = Conditions {
            self_cond: for_all(padded("estimate")),
            mask: Some(io.mask("mask")),
            ..Conditions::default()
        };
        real(&io, denoiser.forward(padded("z"), io.ints("steps"), conditions))
    };
    assert_eq!(distance(output(0.0), output(100.0)), 0.0);
}

#[test]
fn bf16_parameters_give_nearly_the_same_output() {
    let (io, device) = (recorded(ENCODER_SPACE), Device::default());
    let denoiser = cast_module(encoder_space_denoiser(&device), FloatDType::BF16);
    let conditions = Conditions {
        self_cond: for_all(io.floats("estimate")),
        classes: Some(Tensor::from_data([1, 2, 0], &device)),
        source: None,
        mask: Some(io.mask("mask")),
    };
    let output = denoiser.forward(io.floats("z"), io.ints("steps"), conditions);
    let expected = io.floats::<3>("all");
    let output = real(&io, output);
    assert_eq!(output.dtype(), expected.dtype());
    let rms: f32 = expected.clone().square().mean().sqrt().into_scalar();
    let deviation: f32 = (output - expected).square().mean().sqrt().into_scalar();
    println!("relative deviation {}", deviation / rms);
    assert!(deviation / rms < 0.05, "{deviation} of {rms}");
}
