//! Losses and whole sampling runs against those of LD4LG's published code.

use std::collections::HashMap;
use std::fs;
use std::ops::ControlFlow;

use burn::tensor::{Device, Tensor};
use latent_text_denoiser::{Conditions, Denoiser, Source};
use latent_text_diffusion::guidance::ClassifierFree;
use latent_text_diffusion::{
    DenoiserInput, Guidance, GuidanceContext, GuidancePair, GuidanceState, LossKind, NoiseLevel,
    NoiseScheduleConfig, NoiseSource, Prediction, SamplerKind, SamplerPlan, add_noise, loss,
    rescale_norm, sample,
};
use latent_text_nn::weights::TensorFile;
use latent_text_testing::{distance, fixture};

use crate::support::{byte_mask, for_all, golden_config, golden_denoiser, golden_seq2seq, tensors};

const STEPS: usize = 6;

/// What f32 rounding in the published code can move. Its schedule is in f32, ours in f64: one digit
/// of `alpha`, which the sinusoid multiplies by 1000, moves these latents by up to 9e-5, and several
/// by 2e-4 (with an f32 schedule, DDIM runs agree to 8e-6). Its DDPM step divides a difference of
/// near-equal terms by 0.002 in the first step, where one digit of `eps` moves them by 1e-4.
const TOLERANCE: f32 = 2e-4;

/// Hands out the noise of a recorded run.
struct Recorded {
    file: TensorFile,
    drawn: usize,
}

impl NoiseSource for Recorded {
    fn draw(&mut self, shape: [usize; 3], device: &Device) -> Tensor<3> {
        let noise = self.file.tensor(&format!("noise.{}", self.drawn), device).unwrap();
        assert_eq!(noise.dims(), shape);
        self.drawn += 1;
        noise
    }
}

fn predict(denoiser: &Denoiser, input: DenoiserInput) -> Tensor<3> {
    let self_cond = input.self_cond.and_then(for_all);
    let conditions = Conditions { self_cond, ..Conditions::default() };
    denoiser.forward(input.z, input.alpha, conditions)
}

/// Replays a recorded run; returns its largest error, relative to latents above 1, and the number of
/// draws.
fn replay(name: &str, sampler: SamplerKind, prediction: Prediction) -> (f32, usize) {
    replay_with(name, sampler, prediction, false)
}

fn replay_with(
    name: &str,
    sampler: SamplerKind,
    prediction: Prediction,
    rescale_x0: bool,
) -> (f32, usize) {
    let device = Device::default();
    let denoiser = golden_denoiser(&golden_config(), &device);
    let schedule = NoiseScheduleConfig::default().init().unwrap();
    let plan =
        SamplerPlan::new(&schedule, sampler, prediction, STEPS).unwrap().rescale_x0(rescale_x0);
    let mut noise = Recorded { file: tensors(&format!("golden/{name}")), drawn: 0 };
    let expected: Tensor<3> = noise.file.tensor("out", &device).unwrap();
    let latents = sample(
        &plan,
        expected.dims(),
        &mut noise,
        &device,
        |input| predict(&denoiser, input),
        |_| ControlFlow::Continue(()),
    )
    .unwrap();
    let size = expected.clone().abs().max().into_scalar::<f32>();
    let error = distance(latents, expected) / size.max(1.0);
    println!("{name}: largest error {error:e}");
    (error, noise.drawn)
}

#[test]
fn ddpm_runs_end_at_the_published_codes_latents() {
    for (name, prediction) in [
        ("sample_ddpm_pred_v.safetensors", Prediction::V),
        ("sample_ddpm_pred_x0.safetensors", Prediction::X0),
    ] {
        let (error, draws) = replay(name, SamplerKind::Ddpm, prediction);
        assert!(error < TOLERANCE, "{name}: {error}");
        assert_eq!(draws, STEPS, "{name}");
    }
}

#[test]
fn ddim_runs_end_at_the_published_codes_latents() {
    for (name, prediction) in [
        ("sample_ddim_pred_v.safetensors", Prediction::V),
        ("sample_ddim_pred_x0.safetensors", Prediction::X0),
    ] {
        let (error, draws) = replay(name, SamplerKind::Ddim, prediction);
        assert!(error < TOLERANCE, "{name}: {error}");
        assert_eq!(draws, 1, "{name}");
    }
}

/// The published `dpmpp` is of the first order and ends at a stale estimate; so does ours of that name.
#[test]
fn dpmpp_as_reference_ends_at_the_published_codes_latents() {
    for (name, prediction, rescale_x0) in [
        ("sample_dpmpp_pred_v.safetensors", Prediction::V, false),
        ("sample_dpmpp_pred_x0.safetensors", Prediction::X0, false),
        ("sample_dpmpp_pred_noise.safetensors", Prediction::Eps, false),
        ("sample_dpmpp_pred_v_l2.safetensors", Prediction::V, true),
    ] {
        let (error, draws) =
            replay_with(name, SamplerKind::DpmppAsReference, prediction, rescale_x0);
        assert!(error < TOLERANCE, "{name}: {error}");
        assert_eq!(draws, 1, "{name}");
    }
}

#[test]
fn losses_are_the_published_codes() {
    let device = Device::default();
    let denoiser = golden_denoiser(&golden_config(), &device);
    let inputs = tensors("golden/loss_inputs.safetensors");
    let x0: Tensor<3> = inputs.tensor("x0", &device).unwrap();
    let eps: Tensor<3> = inputs.tensor("noise", &device).unwrap();
    let times = inputs.tensor::<1>("t", &device).unwrap().try_into_vec_as::<f64>().unwrap();
    let alpha = NoiseScheduleConfig::default().init().unwrap().alphas(&times, &device);
    let text = fs::read_to_string(fixture("golden/loss_values.json")).unwrap();
    let expected: HashMap<String, f32> = serde_json::from_str(&text).unwrap();

    let z = add_noise(x0.clone(), eps.clone(), alpha.clone());
    let output = denoiser.forward(z, alpha.clone(), Conditions::default());
    for (objective, prediction) in
        [("pred_v", Prediction::V), ("pred_x0", Prediction::X0), ("pred_noise", Prediction::Eps)]
    {
        let target = prediction.target(x0.clone(), eps.clone(), alpha.clone());
        for (norm, kind) in
            [("l2", LossKind::L2), ("l1", LossKind::L1), ("smooth_l1", LossKind::SmoothL1)]
        {
            let value = loss(kind, output.clone(), target.clone()).into_scalar::<f32>();
            let expected = expected[&format!("{objective}/{norm}")];
            println!("{objective}/{norm}: {value} for {expected}");
            assert!((value - expected).abs() < 1e-5, "{objective}/{norm}: {value} {expected}");
        }
    }
}

/// One guided prediction of the published code, at a level of its own for each sample.
#[test]
fn guided_estimates_are_the_published_codes() {
    const FILE: &str = "golden/guidance_w2_scale0.1_l2.safetensors";
    let device = Device::default();
    let denoiser = golden_seq2seq(&device);
    let file = tensors(FILE);
    let read = |name: &str| file.tensor::<3>(name, &device).unwrap();
    let times = file.tensor::<1>("t", &device).unwrap().try_into_vec_as::<f64>().unwrap();
    let schedule = NoiseScheduleConfig { scale: 0.1, ..Default::default() }.init().unwrap();
    let (z, alpha) = (read("z"), schedule.alphas(&times, &device));

    let source = denoiser.read_source(Source {
        states: read("context"),
        mask: Some(byte_mask(FILE, "context_mask", &device)),
        present: None,
    });
    let predict = |source| {
        let self_cond = for_all(read("self_cond"));
        let conditions = Conditions { self_cond, source, ..Conditions::default() };
        denoiser.forward(z.clone(), alpha.clone(), conditions)
    };
    let pair =
        GuidancePair { conditional: predict(Some(source)), unconditional: Some(predict(None)) };
    // This guidance is the same at every level and every step.
    let at = GuidanceContext {
        level: NoiseLevel::from_log_snr(0.0),
        z: z.clone(),
        prediction: Prediction::V,
        step: 0,
        steps: 1,
    };
    let guidance = ClassifierFree { scale: 2.0 };
    let (output, _) = guidance.combine(pair, &at, GuidanceState::default()).unwrap();
    let x0 = rescale_norm(Prediction::V.to_x0(z.clone(), alpha.clone(), output));
    let eps = Prediction::X0.to_eps(z.clone(), alpha.clone(), x0.clone());
    let v = Prediction::V.from_x0(z, alpha, x0.clone());
    for (name, value) in [("pred_x_start", x0), ("pred_noise", eps), ("pred_v", v)] {
        let error = distance(value, read(name));
        println!("{name}: largest error {error:e}");
        assert!(error < 1e-4, "{name}: {error}");
    }
}
