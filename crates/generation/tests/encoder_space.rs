//! LD4LG's first version: its sampling by the formulas, and its folder.

mod common;

use std::fs;
use std::ops::ControlFlow;

use burn::tensor::{Device, FloatDType, Int, Tensor};
use latent_text_autoencoder::AutoencoderConfig;
use latent_text_conditioning::ClassLabels;
use latent_text_denoiser::{
    Conditions, DenoisingNetwork, DenoisingNetworkConfig, EncoderSpaceDenoiser, SelfCondition,
};
use latent_text_diffusion::{GuidanceConfig, SampleNoise, SamplerKind, Spacing};
use latent_text_generation::{
    Generated, GenerationError, LatentText, Lengths, MODEL_CONFIG_FILE, ModelConfig, Request,
};
use serde_json::Value;

use common::MAX_TOKENS;

const LENGTH: usize = 5;

fn conditional() -> LatentText {
    common::encoder_space(Some(ClassLabels::new(common::LABELS).unwrap()))
}

fn request(steps: usize) -> Request {
    Request {
        seed: 7,
        labels: vec!["inn".into()],
        lengths: Some(Lengths::Given(vec![LENGTH])),
        steps: Some(steps),
        with_latents: true,
        ..Request::default()
    }
}

fn generate(model: &LatentText, request: &Request) -> Vec<Generated> {
    model.generate(request, |_| ControlFlow::Continue(())).unwrap()
}

fn values(text: &Generated) -> Vec<f32> {
    text.latents.clone().unwrap().concat()
}

fn network(model: &LatentText) -> &EncoderSpaceDenoiser {
    match &model.denoiser {
        DenoisingNetwork::EncoderSpace(network) => network,
        DenoisingNetwork::Latent(_) => panic!("it is of the second version"),
    }
}

/// The running product of `1 - beta`, with betas from 1e-4 to 0.02; 1 for the step before the first.
fn alpha_bar(step: i64) -> f64 {
    let beta = |index: i64| 1e-4 + (0.02 - 1e-4) * index as f64 / 999.0;
    (0..=step).map(|index| 1.0 - beta(index)).product()
}

/// The reference's sampler: DDIM with `eta` over `linspace(-1, 999, steps + 1)`, cut to integers and
/// reversed, of a network that predicts x0 and is guided with weight `w`.
fn by_hand(model: &LatentText, steps: i64, eta: f64, w: f64) -> Vec<f32> {
    let device = model.device();
    let times: Vec<i64> =
        (0..=steps).rev().map(|i| (-1.0 + 1000.0 * i as f64 / steps as f64) as i64).collect();
    let labels = model.config.labels.as_ref().unwrap();
    let class = labels.tensor(&[labels.index_of("inn").unwrap()], device);
    let mut noise = SampleNoise::new(7, [0]);
    let mut draw = || {
        let drawn: Tensor<3> = noise.normal([1, MAX_TOKENS, 16], device);
        drawn.narrow(1, 0, LENGTH)
    };
    let mut z = draw();
    let mut estimate = None;
    for pair in times.windows(2) {
        let (a, next) = (alpha_bar(pair[0]), alpha_bar(pair[1]));
        let predict = |classes| {
            let self_cond =
                estimate.clone().map(|estimate| SelfCondition { estimate, present: None });
            let step = Tensor::<1, Int>::from_ints([pair[0] as i32], device);
            let conditions = Conditions { self_cond, classes, ..Conditions::default() };
            network(model).forward(z.clone(), step, conditions)
        };
        let x0 = predict(Some(class.clone())) * w + predict(None) * (1.0 - w);
        if pair[1] < 0 {
            return x0.to_data().iter::<f32>().collect();
        }
        let eps = (z - x0.clone() * a.sqrt()) / (1.0 - a).sqrt();
        let sigma = eta * ((1.0 - a / next) * (1.0 - next) / (1.0 - a)).sqrt();
        z = x0.clone() * next.sqrt() + eps * (1.0 - next - sigma * sigma).sqrt();
        if eta > 0.0 {
            z = z + draw() * sigma;
        }
        estimate = Some(x0);
    }
    unreachable!("the last step returns")
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    let error = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let largest = expected.iter().map(|value| value.abs()).fold(0.0, f32::max);
    // Networks of random weights enlarge what rounding leaves, most of all when they are guided.
    assert!(error < 2e-4 * largest, "{error} where values go up to {largest}");
}

#[test]
fn texts_are_sampled_as_the_first_version_does() {
    let model = conditional();
    for steps in [1, 4, 10] {
        let found = &generate(&model, &request(steps))[0];
        assert_close(&values(found), &by_hand(&model, steps as i64, 1.0, 1.0));
    }
    let ddim = Request { sampler: Some(SamplerKind::Ddim), ..request(4) };
    assert_close(&values(&generate(&model, &ddim)[0]), &by_hand(&model, 4, 0.0, 1.0));
    let guided = Request {
        guidance: Some(GuidanceConfig::ClassifierFree { scale: 2.5 }),
        sampler: Some(SamplerKind::Ddim),
        ..request(4)
    };
    let found = values(&generate(&model, &guided)[0]);
    assert_close(&found, &by_hand(&model, 4, 0.0, 2.5));
    assert_ne!(found, values(&generate(&model, &ddim)[0]));
    let uniform = Request { spacing: Some(Spacing::Uniform), ..ddim };
    assert_ne!(values(&generate(&model, &uniform)[0]), by_hand(&model, 4, 0.0, 1.0));
}

#[test]
fn the_networks_class_is_the_requests() {
    let model = conditional();
    let of = |labels: &[&str]| {
        let labels = labels.iter().map(|label| label.to_string()).collect();
        values(&generate(&model, &Request { labels, ..request(4) })[0])
    };
    let (inn, cafe, none) = (of(&["inn"]), of(&["cafe"]), of(&[]));
    assert!(inn != cafe && inn != none && cafe != none);
}

#[test]
fn autoguidance_leads_away_from_a_weaker_denoiser() {
    let model = conditional();
    let settings = model.config.denoiser.clone();
    let guided =
        Request { guidance: Some(GuidanceConfig::Autoguidance { scale: 2.0 }), ..request(4) };
    let plain = values(&generate(&model, &request(4))[0]);
    // Led away from itself, a denoiser stays where it is.
    let itself = model.denoiser.clone();
    let model = model.with_weaker_denoiser(settings.clone(), itself).unwrap();
    assert_close(&values(&generate(&model, &guided)[0]), &plain);
    let weaker = settings.init(model.device());
    let model = model.with_weaker_denoiser(settings, weaker).unwrap();
    assert_ne!(values(&generate(&model, &guided)[0]), plain);
    assert_eq!(values(&generate(&model, &request(4))[0]), plain);

    let other = common::bart_diffusion();
    let refused = model.with_weaker_denoiser(other.config.denoiser, other.denoiser).err();
    assert!(matches!(refused, Some(GenerationError::Inconsistent(_))), "{refused:?}");
}

#[test]
fn a_saved_model_writes_the_same_texts() {
    for model in [conditional(), common::bart_diffusion()] {
        let folder = tempfile::tempdir().unwrap();
        model.save(folder.path(), FloatDType::F16).unwrap();
        // Nothing is trained between encoder and decoder.
        assert!(!folder.path().join("autoencoder.safetensors").exists());
        let loaded = LatentText::load(folder.path(), &Device::default()).unwrap();
        assert_eq!(loaded.config, model.config);
        assert_eq!(loaded.autoencoder.config(), model.autoencoder.config());
        let sources = match model.config.source {
            Some(_) => vec!["ba du".to_string()],
            None => Vec::new(),
        };
        let request = Request { count: 4, seed: 3, sources, ..Request::default() };
        assert_eq!(generate(&loaded, &request), generate(&model, &request));
    }
}

#[test]
fn a_folder_says_which_version_it_holds() {
    let model = conditional();
    let json = serde_json::to_value(&model.config).unwrap();
    assert_eq!(json["denoiser"]["kind"], "encoder_space");
    assert_eq!(json["sampling"]["spacing"]["name"], "trailing");
    assert_eq!(json["lengths"]["counts"][2], 3);
    assert_eq!(serde_json::from_value::<ModelConfig>(json).unwrap(), model.config);
    // The second version's folders are what they were.
    let json = serde_json::to_value(common::config(None)).unwrap();
    assert!(json["denoiser"].get("kind").is_none());
    let newer = ["lengths", "length_predictor", "weaker_denoiser"];
    assert!(newer.iter().all(|key| json.get(key).is_none()), "{json}");
    assert!(json["sampling"].get("spacing").is_none(), "{json}");
    let config: ModelConfig = serde_json::from_value(json).unwrap();
    assert!(matches!(config.denoiser, DenoisingNetworkConfig::Latent(_)));

    let folder = tempfile::tempdir().unwrap();
    common::conditional().save(folder.path(), FloatDType::F32).unwrap();
    assert!(folder.path().join("autoencoder.safetensors").exists());
    model.save(folder.path(), FloatDType::F32).unwrap();
    assert!(!folder.path().join("autoencoder.safetensors").exists(), "it is of the old model");
    let text = fs::read_to_string(folder.path().join("autoencoder.json")).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["kind"], "encoder");
    let config: AutoencoderConfig = serde_json::from_value(json).unwrap();
    assert_eq!(config, model.autoencoder.config());
}

#[test]
fn damaged_lengths_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    conditional().save(folder.path(), FloatDType::F32).unwrap();
    let path = folder.path().join(MODEL_CONFIG_FILE);
    let whole: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    for (pointer, value) in [
        ("/lengths/counts", Value::from(vec![0, 0])),
        ("/lengths", Value::Null),
        ("/denoiser/kind", "third".into()),
        ("/denoiser/relative_buckets", 6.into()),
        ("/sampling/spacing/name", "even".into()),
    ] {
        let mut config = whole.clone();
        *config.pointer_mut(pointer).unwrap() = value;
        fs::write(&path, config.to_string()).unwrap();
        let error = LatentText::load(folder.path(), &Device::default()).err().unwrap();
        assert!(
            matches!(
                error,
                GenerationError::Config { .. }
                    | GenerationError::Inconsistent(_)
                    | GenerationError::Denoiser(_)
            ),
            "{pointer}: {error:?}"
        );
    }
}
