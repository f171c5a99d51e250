//! Model folders: what is written is read again, and what is damaged is refused.

mod common;

use std::error::Error;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::{Device, FloatDType};
use latent_text_autoencoder::LatentNorm;
use latent_text_conditioning::ClassLabels;
use latent_text_generation::{
    DENOISER_FILE, GenerationError, LatentText, MODEL_CONFIG_FILE, ModelConfig, Request,
};
use serde_json::{Value, json};

fn texts(model: &LatentText) -> Vec<String> {
    let labels = vec!["pub".into(), "inn".into()];
    let request = Request { count: 5, seed: 11, labels, ..Request::default() };
    let generated = model.generate(&request, |_| ControlFlow::Continue(())).unwrap();
    generated.into_iter().map(|generated| generated.text).collect()
}

fn saved() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    common::conditional().save(folder.path(), FloatDType::F32).unwrap();
    folder
}

fn load(folder: &Path) -> Result<LatentText, GenerationError> {
    LatentText::load(folder, &Device::default())
}

/// The error and all its causes.
fn message(result: Result<LatentText, GenerationError>) -> String {
    let error = result.err().expect("the folder should be refused");
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// A copy of a saved folder in which one entry of `config.json` is another.
fn with_config(pointer: &str, value: Value) -> tempfile::TempDir {
    let folder = saved();
    let path = folder.path().join(MODEL_CONFIG_FILE);
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    *config.pointer_mut(pointer).unwrap() = value;
    fs::write(path, config.to_string()).unwrap();
    folder
}

#[test]
fn a_loaded_model_writes_the_texts_of_the_saved_one() {
    let model = common::conditional();
    let expected = texts(&model);
    // The parameters are numbers that f16 has too.
    for dtype in [FloatDType::F32, FloatDType::F16] {
        let folder = tempfile::tempdir().unwrap();
        model.save(folder.path(), dtype).unwrap();
        let loaded = load(folder.path()).unwrap();
        assert_eq!(loaded.config, model.config);
        assert_eq!(texts(&loaded), expected, "{dtype:?}");
    }
}

#[test]
fn a_folder_can_be_overwritten_by_another_model() {
    let folder = saved();
    common::unconditional().save(folder.path(), FloatDType::F32).unwrap();
    assert_eq!(load(folder.path()).unwrap().config.labels, None);
}

#[test]
fn saving_leaves_no_temporary_files() {
    let folder = saved();
    let mut names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let expected = [
        "autoencoder.json",
        "autoencoder.safetensors",
        "config.json",
        "denoiser.safetensors",
        "language_model",
    ];
    assert_eq!(names, expected);
}

#[test]
fn a_missing_folder_is_told_apart_from_a_half_written_one() {
    let folder = saved();
    let absent = folder.path().join("absent");
    let text = message(load(&absent));
    assert!(text.contains("absent") && text.contains("the folder itself"), "{text}");

    for file in [MODEL_CONFIG_FILE, DENOISER_FILE] {
        let folder = saved();
        fs::remove_file(folder.path().join(file)).unwrap();
        let text = message(load(folder.path()));
        assert!(text.contains(&format!("{file} is missing")), "{text}");
        assert!(text.contains("half-written"), "{text}");
    }
}

#[test]
fn another_format_version_is_refused() {
    for version in [json!(2), json!(0), json!(4_294_967_297_u64)] {
        let folder = with_config("/format_version", version.clone());
        let error = load(folder.path()).err().unwrap();
        assert!(matches!(error, GenerationError::FormatVersion { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&format!("format version {version}")), "{text}");
        let newer = version != json!(0);
        assert_eq!(text.contains("update latent-text"), newer, "{text}");
    }
    for version in [json!("1"), json!(-1), json!(null)] {
        let folder = with_config("/format_version", version);
        let error = load(folder.path()).err().unwrap();
        assert!(matches!(error, GenerationError::Config { .. }), "{error:?}");
    }
}

#[test]
fn senseless_settings_are_refused() {
    for (pointer, value, expected) in [
        ("/denoiser/latent_dim", json!(16), "shape"),
        ("/denoiser/max_latents", json!(3), "shape"),
        ("/denoiser/dim", json!(24), "shape"),
        ("/denoiser/dim", json!(15), "`dim`"),
        ("/denoiser/head_dim", json!(0), "head_dim"),
        ("/denoiser/depth", json!(100_000_000_u64), "depth"),
        ("/denoiser/classes", json!(4), "shape"),
        ("/labels/names", json!(["pub", "inn"]), "3 classes, there are 2 labels"),
        ("/labels/names", json!([]), "at least one"),
        ("/labels", json!(null), "there are 0 labels"),
        ("/statistics/mean", json!([0.0]), "8 dimensions"),
        ("/prediction", json!("w"), "unknown variant"),
        ("/sampling/sampler", json!("runge"), "unknown variant"),
    ] {
        // Whichever check comes first, the message must name the trouble.
        let text = message(load(with_config(pointer, value.clone()).path()));
        assert!(text.contains(expected), "{pointer} = {value}: {text}");
    }
}

#[test]
fn settings_that_only_a_request_meets_are_errors_then() {
    for (pointer, value, expected) in [
        ("/sampling/steps", json!(0), "step"),
        ("/schedule/scale", json!(-1.0), "scale"),
        ("/decoding/max_length", json!(1000), "max_length"),
    ] {
        let folder = with_config(pointer, value);
        let refused = load(folder.path()).and_then(|model| {
            model.generate(&Request::default(), |_| ControlFlow::Continue(()))?;
            Ok(model)
        });
        let text = message(refused);
        assert!(text.contains(expected), "{pointer}: {text}");
    }
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let device = Device::default();
    let labels = ClassLabels::new(common::LABELS).unwrap();
    let fitting = common::config(Some(labels));
    let refused = |config: ModelConfig| {
        let autoencoder = common::autoencoder(LatentNorm::L2, &device);
        let denoiser = fitting.denoiser.init(&device);
        let refused = LatentText::new(config, autoencoder, denoiser, &device).err().unwrap();
        assert!(matches!(refused, GenerationError::Inconsistent(_)), "{refused:?}");
    };
    refused(ModelConfig { labels: None, ..fitting.clone() });
    let mut config = fitting.clone();
    config.statistics.mean.push(0.0);
    refused(config);
    let mut config = fitting.clone();
    common::latent_denoiser(&mut config).latent_dim = 4;
    refused(config);
    let mut config = fitting.clone();
    common::latent_denoiser(&mut config).max_latents = 3;
    refused(config);
}
