//! A weaker denoiser as a part of a model and its folder.

mod common;

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::{Device, FloatDType};
use latent_text_conditioning::ClassLabels;
use latent_text_denoiser::{DenoiserConfig, DenoiserError, DenoisingNetworkConfig};
use latent_text_diffusion::GuidanceConfig;
use latent_text_generation::{
    Generated, GenerationError, LatentText, MODEL_CONFIG_FILE, Request, SourceEncoder,
    WEAKER_DENOISER_FILE,
};
use serde_json::{Value, json};

/// The settings of the model's denoiser, changed.
fn like(model: &LatentText, change: impl FnOnce(&mut DenoiserConfig)) -> DenoisingNetworkConfig {
    let mut config = model.config.clone();
    change(common::latent_denoiser(&mut config));
    config.denoiser
}

fn with_weaker(model: LatentText) -> LatentText {
    let smaller = like(&model, |config| config.dim = 8);
    let denoiser = common::randomised(smaller.init(model.device()));
    model.with_weaker_denoiser(smaller, denoiser).unwrap()
}

fn generate(model: &LatentText) -> Vec<Generated> {
    let sources = match model.config.source {
        Some(_) => vec!["kika momu".into(), "ba du".into()],
        None => Vec::new(),
    };
    let request = Request {
        count: 3,
        seed: 5,
        labels: vec!["cafe".into(), "inn".into()],
        sources,
        guidance: Some(GuidanceConfig::Autoguidance { scale: 2.0 }),
        with_latents: true,
        ..Request::default()
    };
    model.generate(&request, |_| ControlFlow::Continue(())).unwrap()
}

fn load(folder: &Path) -> Result<LatentText, GenerationError> {
    LatentText::load(folder, &Device::default())
}

#[test]
fn folders_hold_it() {
    for model in [common::conditional(), common::for_sources(SourceEncoder::Own)] {
        let model = with_weaker(model);
        let folder = tempfile::tempdir().unwrap();
        model.save(folder.path(), FloatDType::F16).unwrap();
        let loaded = load(folder.path()).unwrap();
        assert!(loaded.weaker_denoiser().is_some());
        assert_eq!(loaded.config, model.config);
        assert_eq!(generate(&loaded), generate(&model));
    }
}

#[test]
fn that_of_an_earlier_model_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(WEAKER_DENOISER_FILE);
    with_weaker(common::conditional()).save(folder.path(), FloatDType::F32).unwrap();
    assert!(path.exists());
    common::conditional().save(folder.path(), FloatDType::F32).unwrap();
    assert!(!path.exists());
    let loaded = load(folder.path()).unwrap();
    assert!(loaded.weaker_denoiser().is_none() && loaded.config.weaker_denoiser.is_none());
}

#[test]
fn a_model_without_one_is_written_as_before() {
    let [with, without] = [true, false].map(|weaker| {
        let model = common::conditional();
        let folder = tempfile::tempdir().unwrap();
        let model = if weaker { with_weaker(model) } else { model };
        model.save(folder.path(), FloatDType::F32).unwrap();
        let text = fs::read_to_string(folder.path().join(MODEL_CONFIG_FILE)).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()
    });
    let keys = |json: &Value| json.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let mut expected = keys(&without);
    assert!(!expected.iter().any(|key| key == "weaker_denoiser"));
    expected.push("weaker_denoiser".to_string());
    expected.sort();
    let mut found = keys(&with);
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn a_damaged_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    with_weaker(common::conditional()).save(folder.path(), FloatDType::F32).unwrap();
    let config = folder.path().join(MODEL_CONFIG_FILE);
    let whole: Value = serde_json::from_str(&fs::read_to_string(&config).unwrap()).unwrap();
    for (setting, value) in [
        ("dim", json!(16)),
        ("head_dim", json!(0)),
        ("classes", json!(4)),
        ("latent_dim", json!(4)),
        ("depth", json!("two")),
    ] {
        let mut damaged = whole.clone();
        damaged["weaker_denoiser"][setting] = value;
        fs::write(&config, damaged.to_string()).unwrap();
        let error = load(folder.path()).err().unwrap();
        let (weights, setting_of, json) = (
            matches!(error, GenerationError::Weights(_)),
            matches!(error, GenerationError::Denoiser(DenoiserError::Setting { .. })),
            matches!(error, GenerationError::Config { .. }),
        );
        let expected = match setting {
            "head_dim" => setting_of,
            "depth" => json,
            _ => weights,
        };
        assert!(expected, "{setting}: {error:?}");
    }
    fs::write(&config, whole.to_string()).unwrap();
    load(folder.path()).unwrap();
    fs::remove_file(folder.path().join(WEAKER_DENOISER_FILE)).unwrap();
    let error = load(folder.path()).err().unwrap();
    assert!(matches!(error, GenerationError::NoModel { .. }), "{error:?}");
    assert!(error.to_string().contains(WEAKER_DENOISER_FILE), "{error}");
}

#[test]
fn one_that_does_not_fit_is_refused() {
    let refused = |model: LatentText, config: DenoisingNetworkConfig| {
        let denoiser = config.init(model.device());
        match model.with_weaker_denoiser(config, denoiser) {
            Err(GenerationError::Inconsistent(problem)) => {
                assert!(problem.contains("the weaker denoiser"), "{problem}");
                problem
            }
            other => panic!("{:?}", other.err()),
        }
    };
    let model = common::conditional;
    let config = |change: fn(&mut DenoiserConfig)| like(&model(), change);
    let message = refused(model(), config(|config| config.latent_dim = 4));
    assert!(message.contains("up to 4 x 4"), "{message}");
    let message = refused(model(), config(|config| config.max_latents = 3));
    assert!(message.contains("up to 3 x 8"), "{message}");
    let message = refused(model(), config(|config| config.classes = None));
    assert!(message.contains("0 classes") && message.contains("3 labels"), "{message}");
    let message = refused(model(), config(|config| config.source_dim = Some(24)));
    assert!(message.contains("attends to sources"), "{message}");
    let message = refused(common::for_sources(SourceEncoder::Own), config(|_| ()));
    assert!(message.contains("does not attend"), "{message}");

    let labels = Some(ClassLabels::new(common::LABELS).unwrap());
    let first_version = common::encoder_space(labels).config.denoiser;
    let mut told_steps = first_version.clone();
    if let DenoisingNetworkConfig::EncoderSpace(config) = &mut told_steps {
        (config.latent_dim, config.max_latents) = (common::LATENT_DIM, 4);
    }
    let message = refused(model(), told_steps);
    assert!(message.contains("`table`"), "{message}");

    let broken = config(|config| config.head_dim = 0);
    let denoiser = model().denoiser;
    let error = model().with_weaker_denoiser(broken, denoiser).err();
    assert!(matches!(error, Some(GenerationError::Denoiser(_))), "{error:?}");

    let named = with_weaker(model());
    let parts =
        LatentText::new(named.config, named.autoencoder, named.denoiser, &Device::default());
    let error = parts.err().unwrap();
    assert!(error.to_string().contains("with_weaker_denoiser"), "{error}");
}
