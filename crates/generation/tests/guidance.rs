//! Guidance by classes and sources, on a tiny model with random parameters.

mod common;

use std::ops::ControlFlow;

use burn::tensor::Tensor;
use latent_text_denoiser::{Conditions, DenoisingNetwork, NetworkTime, SelfCondition, Source};
use latent_text_diffusion::guidance::NoiseInterval;
use latent_text_diffusion::{
    DiffusionError, GuidanceConfig, SampleNoise, SamplerKind, rescale_norm,
};
use latent_text_generation::{GenerationError, LatentText, Request, SourceEncoder};

const STEPS: usize = 4;
const SOURCE: &str = "kika momu late";

fn for_sources() -> LatentText {
    common::for_sources(SourceEncoder::Own)
}

fn guided(guidance: GuidanceConfig) -> Request {
    Request {
        seed: 9,
        labels: vec!["cafe".into()],
        sources: vec![SOURCE.into()],
        guidance: Some(guidance),
        sampler: Some(SamplerKind::Ddim),
        steps: Some(STEPS),
        with_latents: true,
        ..Request::default()
    }
}

fn scale(scale: f64) -> GuidanceConfig {
    GuidanceConfig::ClassifierFree { scale }
}

fn try_latents(model: &LatentText, request: &Request) -> Result<Vec<f32>, GenerationError> {
    let texts = model.generate(request, |_| ControlFlow::Continue(()))?;
    Ok(texts.into_iter().flat_map(|text| text.latents.unwrap().concat()).collect())
}

fn latents(model: &LatentText, request: &Request) -> Vec<f32> {
    try_latents(model, request).unwrap()
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    let error = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(error < 1e-4, "{error}");
}

#[track_caller]
fn assert_differ(found: &[f32], other: &[f32]) {
    assert_eq!(found.len(), other.len());
    let error = found.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(error > 1e-2, "{error}");
}

/// DDIM with v-prediction as the formulas have it; `second` makes the prediction that `w` leads away
/// from.
fn by_hand(
    model: &LatentText,
    w: f64,
    rescaled: bool,
    second: (&DenoisingNetwork, &dyn Fn(&DenoisingNetwork) -> Conditions),
) -> Vec<f32> {
    let device = model.device();
    let schedule = model.config.schedule.init().unwrap();
    let shape = [1, model.autoencoder.max_latents(), common::LATENT_DIM];
    let conditioned = conditions(model);
    let mut z: Tensor<3> = SampleNoise::new(9, [0]).normal(shape, device);
    let mut estimate = None;
    for step in 0..STEPS {
        let alpha = schedule.alpha(1.0 - step as f64 / STEPS as f64);
        let next = schedule.alpha(1.0 - (step + 1) as f64 / STEPS as f64);
        let predict = |denoiser: &DenoisingNetwork, conditions: Conditions| {
            let self_cond =
                estimate.clone().map(|estimate| SelfCondition { estimate, present: None });
            let alpha = Tensor::from_floats([alpha as f32], device);
            let time = NetworkTime { alpha, step: None };
            denoiser.forward(z.clone(), time, Conditions { self_cond, ..conditions })
        };
        let conditional = predict(&model.denoiser, conditioned(&model.denoiser));
        let other = predict(second.0, second.1(second.0));
        let v = conditional * w + other * (1.0 - w);
        let mut x0 = z.clone() * alpha.sqrt() - v * (1.0 - alpha).sqrt();
        if rescaled {
            x0 = rescale_norm(x0);
        }
        let eps = (z - x0.clone() * alpha.sqrt()) / (1.0 - alpha).sqrt();
        z = x0.clone() * next.sqrt() + eps * (1.0 - next).sqrt();
        estimate = Some(x0);
    }
    estimate.unwrap().to_data().iter::<f32>().collect()
}

/// The class and the source of [`guided`] for a denoiser.
fn conditions(model: &LatentText) -> impl Fn(&DenoisingNetwork) -> Conditions {
    let labels = model.config.labels.clone().unwrap();
    let classes = labels.tensor(&[labels.index_of("cafe").unwrap()], model.device());
    let (states, mask) = model.source_reader().unwrap().read(&[SOURCE]).unwrap();
    let source = Source { states, mask: Some(mask), present: None };
    move |denoiser| Conditions {
        classes: Some(classes.clone()),
        source: Some(denoiser.read_source(source.clone())),
        ..Conditions::default()
    }
}

#[test]
fn guidance_leads_away_from_the_prediction_without_class_and_source() {
    let model = for_sources();
    for (w, rescaled) in [(2.0, false), (2.0, true), (0.0, false), (-1.5, true), (1.0, true)] {
        let expected = by_hand(&model, w, rescaled, (&model.denoiser, &|_| Conditions::default()));
        let request = Request { rescale_x0: Some(rescaled), ..guided(scale(w)) };
        assert_close(&latents(&model, &request), &expected);
    }
}

#[test]
fn classes_alone_are_guided_by() {
    let model = common::conditional();
    let request = |w| Request { sources: Vec::new(), ..guided(scale(w)) };
    let unconditional =
        Request { sources: Vec::new(), labels: Vec::new(), guidance: None, ..guided(scale(1.0)) };
    assert_close(&latents(&model, &request(0.0)), &latents(&model, &unconditional));
    assert_differ(&latents(&model, &request(0.0)), &latents(&model, &request(1.0)));
    assert_differ(&latents(&model, &request(3.0)), &latents(&model, &request(1.0)));
}

#[test]
fn a_scale_of_1_is_no_guidance() {
    let model = for_sources();
    let none = Request { guidance: None, ..guided(scale(1.0)) };
    assert_eq!(latents(&model, &guided(scale(1.0))), latents(&model, &none));
}

#[test]
fn every_kind_guides() {
    let model = for_sources();
    let plain = latents(&model, &guided(scale(1.0)));
    let free = latents(&model, &guided(scale(3.0)));
    let everywhere = NoiseInterval::Sigma { above: None, up_to: None };
    let nowhere = NoiseInterval::Sigma { above: Some(1e8), up_to: None };
    let interval = |levels| GuidanceConfig::Interval { levels, inner: Box::new(scale(3.0)) };
    let projected = |eta| GuidanceConfig::AdaptiveProjected {
        scale: 3.0,
        eta,
        norm_threshold: None,
        momentum: 0.0,
    };
    let rescaled = |phi| GuidanceConfig::Rescaled { phi, inner: Box::new(scale(3.0)) };
    assert_close(&latents(&model, &guided(interval(everywhere))), &free);
    assert_close(&latents(&model, &guided(interval(nowhere))), &plain);
    assert_close(&latents(&model, &guided(projected(1.0))), &free);
    assert_close(&latents(&model, &guided(rescaled(0.0))), &free);
    for other in [
        projected(0.0),
        rescaled(0.7),
        GuidanceConfig::ZeroStar { scale: 3.0, zero_steps: 0 },
        GuidanceConfig::ZeroStar { scale: 3.0, zero_steps: 1 },
    ] {
        let found = latents(&model, &guided(other.clone()));
        assert!(found.iter().all(|value| value.is_finite()), "{other:?}");
        assert_differ(&found, &free);
        assert_differ(&found, &plain);
    }
}

#[test]
fn autoguidance_leads_away_from_a_weaker_denoiser_under_the_same_conditions() {
    let nested = GuidanceConfig::Interval {
        levels: NoiseInterval::Sigma { above: None, up_to: None },
        inner: Box::new(GuidanceConfig::Autoguidance { scale: 2.5 }),
    };
    for guidance in [GuidanceConfig::Autoguidance { scale: 2.5 }, nested] {
        let model = for_sources();
        let refused = try_latents(&model, &guided(guidance.clone()));
        assert!(matches!(refused, Err(GenerationError::NoWeakerDenoiser)), "{refused:?}");

        let mut smaller = model.config.clone();
        common::latent_denoiser(&mut smaller).dim = 8;
        let weaker = common::denoiser(&smaller, model.device());
        let expected = by_hand(&model, 2.5, false, (&weaker, &conditions(&model)));
        let mut model = model.with_weaker_denoiser(smaller.denoiser, weaker).unwrap();
        // It needs no training without conditions.
        model.config.null_trained = false;
        assert_close(&latents(&model, &guided(guidance)), &expected);
        model.config.null_trained = true;
        // Other guidance has no use for it.
        let free = by_hand(&model, 2.0, false, (&model.denoiser, &|_| Conditions::default()));
        assert_close(&latents(&model, &guided(scale(2.0))), &free);
    }
}

#[test]
fn the_models_own_guidance_is_for_texts_with_conditions() {
    let mut model = for_sources();
    let expected = latents(&model, &guided(scale(2.0)));
    let alone = Request {
        sources: Vec::new(),
        labels: Vec::new(),
        without_source: true,
        guidance: None,
        ..guided(scale(1.0))
    };
    let without = latents(&model, &alone);
    model.config.sampling.guidance = scale(2.0);
    let usual = Request { guidance: None, ..guided(scale(1.0)) };
    assert_close(&latents(&model, &usual), &expected);
    assert_differ(&latents(&model, &guided(scale(1.0))), &expected);
    assert_eq!(latents(&model, &alone), without);
}

#[test]
fn guidance_without_what_it_needs_is_an_error() {
    let request = Request { labels: Vec::new(), sources: Vec::new(), ..guided(scale(2.0)) };
    for (model, expected) in [
        (common::unconditional(), "the model knows none"),
        (common::conditional(), "give labels or sources"),
    ] {
        let error = try_latents(&model, &request).unwrap_err();
        assert!(matches!(error, GenerationError::NothingToGuide { .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
        let plain = Request { guidance: Some(scale(1.0)), ..request.clone() };
        latents(&model, &plain);
    }

    let mut model = for_sources();
    model.config.null_trained = false;
    let refused = try_latents(&model, &guided(scale(2.0)));
    assert!(matches!(refused, Err(GenerationError::NullUntrained { .. })), "{refused:?}");
    latents(&model, &guided(scale(1.0)));

    let refused = try_latents(&for_sources(), &guided(scale(f64::NAN)));
    assert!(
        matches!(refused, Err(GenerationError::Diffusion(DiffusionError::Setting { .. }))),
        "{refused:?}"
    );
}
