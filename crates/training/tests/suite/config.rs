use std::fs;
use std::path::{Path, PathBuf};

use latent_text_training::optimisation::{Decay, EmaConfig};
use latent_text_training::source::SourceEncoderChoice;
use latent_text_training::{AutoencoderSection, Precision, TrainingConfig, TrainingError};

const MINIMAL: &str = r#"
[language_model]
data = [{ path = "texts.txt" }]
validation = [{ path = "texts.txt" }]
training = {}

[autoencoder]
data = [{ path = "texts.txt" }]
validation = [{ path = "texts.txt" }]
training = {}

[diffusion]
data = [{ path = "texts.txt" }]
validation = [{ path = "texts.txt" }]
training = {}
"#;

fn read(text: &str) -> (Result<TrainingConfig, TrainingError>, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("training.toml");
    fs::write(&path, text).expect("a file");
    (TrainingConfig::from_file(&path), path)
}

#[test]
fn what_is_left_out_has_its_default() {
    let config = read(MINIMAL).0.expect("a configuration");
    assert_eq!((config.seed, config.precision, config.max_tokens), (42, Precision::F32, 64));
    assert_eq!(config.language_model.expect("a section").vocabulary, 4096);
    let training = &config.diffusion.training;
    assert_eq!((training.steps, training.batch_size, training.accumulation), (10_000, 64, 1));
    assert_eq!((training.learning_rate.peak, training.learning_rate.warmup_steps), (1e-4, 1000));
    assert_eq!(training.learning_rate.decay, Decay::Cosine);
    assert_eq!((training.optimizer.beta_1, training.optimizer.beta_2), (0.9, 0.999));
    assert_eq!((training.optimizer.epsilon, training.optimizer.gradient_clip), (1e-8, 1.0));
    assert_eq!(training.ema, None);
    assert_eq!(EmaConfig::default(), EmaConfig { decay: 0.9999, power: 0.75, update_after: 100 });
    let objective = &config.diffusion.objective;
    assert_eq!((objective.self_conditioning, objective.class_dropout), (0.5, 0.1));
    let autoencoder = config.autoencoder.training().expect("it is trained");
    assert_eq!(autoencoder.objective.latent_noise, 0.0);
}

#[test]
fn a_configuration_comes_back_from_its_own_text() {
    let config = read(MINIMAL).0.expect("a configuration");
    let text = toml::to_string(&config).expect("TOML");
    assert_eq!(read(&text).0.expect("a configuration"), config);
}

#[test]
fn unknown_keys_and_wrong_types_are_refused_by_name_and_file() {
    for (old, new, detail) in [
        ("[language_model]\n", "sed = 1\n[language_model]\n", "`sed`"),
        ("[language_model]\n", "[language_model]\nvocabulry = 9\n", "`vocabulry`"),
        ("[autoencoder]\n", "[autoencoder.objective]\nnoise = 1\n[autoencoder]\n", "`noise`"),
        ("training = {}\n", "training = { step = 10 }\n", "`step`"),
        ("training = {}\n", "training = { learning_rate = { top = 1 } }\n", "`top`"),
        ("training = {}\n", "training = { optimizer = { beta = 1 } }\n", "`beta`"),
        ("training = {}\n", "training = { ema = { rate = 1 } }\n", "`rate`"),
        ("training = {}\n", "training = { steps = \"many\" }\n", "steps"),
        ("training = {}\n", "training = { steps = -1 }\n", "steps"),
        ("training = {}\n", "", "training"),
        ("path = \"texts.txt\"", "pth = \"texts.txt\"", "`pth`"),
        ("[diffusion]\n", "[diffusion]\nprediction = \"w\"\n", "`w`"),
        ("[language_model]\n", "precision = \"f16\"\n[language_model]\n", "`f16`"),
    ] {
        let (result, path) = read(&MINIMAL.replacen(old, new, 1));
        let error = result.expect_err(detail);
        assert!(matches!(error, TrainingError::Config { .. }), "{error:?}");
        let message = error.to_string();
        assert!(message.contains(detail), "{message}");
        assert!(message.contains(path.to_str().expect("a plain path")), "{message}");
        assert!(message.contains("line"), "{message}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let path = Path::new("no/such/training.toml");
    let error = TrainingConfig::from_file(path).expect_err("no file");
    assert!(error.to_string().contains("no/such/training.toml"), "{error}");
}

#[test]
fn values_out_of_range_are_refused_by_name() {
    let in_training =
        |setting: &str| ("training = {}\n".to_string(), format!("training = {{ {setting} }}\n"));
    let in_section = |section: &str, table: &str, setting: &str| {
        let header = format!("[{section}]\n");
        (header.clone(), format!("[{section}.{table}]\n{setting}\n{header}"))
    };
    for ((old, new), name) in [
        (in_training("steps = 0"), "language_model.training.steps"),
        (in_training("batch_size = 0"), "language_model.training.batch_size"),
        (in_training("accumulation = 0"), "language_model.training.accumulation"),
        (in_training("log_every = 0"), "language_model.training.log_every"),
        (in_training("validate_every = 0"), "language_model.training.validate_every"),
        (in_training("checkpoint_every = 0"), "language_model.training.checkpoint_every"),
        (in_training("learning_rate = { peak = 0.0 }"), "training.learning_rate.peak"),
        (in_training("learning_rate = { peak = nan }"), "training.learning_rate.peak"),
        (in_training("learning_rate = { peak = inf }"), "training.learning_rate.peak"),
        (in_training("optimizer = { beta_1 = 1.0 }"), "training.optimizer.beta_1"),
        (in_training("optimizer = { beta_2 = -0.1 }"), "training.optimizer.beta_2"),
        (in_training("optimizer = { epsilon = 0.0 }"), "training.optimizer.epsilon"),
        (in_training("optimizer = { weight_decay = -1.0 }"), "training.optimizer.weight_decay"),
        (in_training("optimizer = { gradient_clip = nan }"), "training.optimizer.gradient_clip"),
        (in_training("ema = { decay = 1.5 }"), "training.ema.decay"),
        (in_training("ema = { power = -1.0 }"), "training.ema.power"),
        (in_section("language_model", "model", "heads = 3"), "encoder_attention_heads"),
        (in_section("language_model", "model", "dropout = 1.0"), "dropout"),
        (in_section("language_model", "noising", "mask_ratio = 1.5"), "mask_ratio"),
        (in_section("autoencoder", "objective", "latent_noise = -1.0"), "latent_noise"),
        (in_section("autoencoder", "model", "latents = 0"), "latents"),
        (in_section("autoencoder", "model", "latents = 65"), "diffusion.model"),
        (in_section("autoencoder", "model", "latent_dim = 32"), "diffusion.model"),
        (in_section("diffusion", "model", "classes = 3"), "diffusion.model.classes"),
        (in_section("diffusion", "model", "dropout = -0.5"), "dropout"),
        (in_section("diffusion", "schedule", "scale = -1.0"), "scale"),
        (in_section("diffusion", "objective", "self_conditioning = 1.1"), "self_conditioning"),
        (in_section("diffusion", "objective", "class_dropout = nan"), "class_dropout"),
        (in_section("diffusion", "sampling", "steps = 0"), "diffusion.sampling.steps"),
        (
            ("[language_model]\n".into(), "pad_to_multiple = 0\n[language_model]\n".into()),
            "pad_to_multiple",
        ),
        (in_section("diffusion", "decoding", "max_length = 65"), "diffusion.decoding.max_length"),
        (("[language_model]\n".into(), "max_tokens = 3\n[language_model]\n".into()), "max_tokens"),
    ] {
        let error = read(&MINIMAL.replacen(&old, &new, 1)).0.expect_err(name);
        assert!(!matches!(error, TrainingError::Config { .. }), "{error:?}");
        assert!(error.to_string().contains(name), "{error} does not name {name}");
    }
}

#[test]
fn the_example_configurations_can_be_used() {
    let folder = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap())
        .join("../../examples/configs");
    let mut files = 0;
    for entry in fs::read_dir(folder).expect("the examples") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            TrainingConfig::from_file(&path).unwrap_or_else(|error| panic!("{error}"));
            files += 1;
        }
    }
    assert!(files > 0);
}

#[test]
fn the_readme_s_configuration_can_be_used() {
    let readme = include_str!("../../README.md");
    let examples: Vec<&str> = readme.split("```toml\n").skip(1).collect();
    assert_eq!(examples.len(), 2);
    for example in examples {
        let (example, _) = example.split_once("```").expect("its end");
        let config = read(example).0.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(config.diffusion.training.ema, Some(EmaConfig::default()));
    }
}

const GIVEN: &str = r#"
[autoencoder]
folder = "model"

[diffusion]
data = [{ path = "texts.csv", source_column = "mr" }]
validation = [{ path = "texts.csv", source_column = "mr" }]
source = { encoder = "bart" }
training = {}
"#;

#[test]
fn an_autoencoder_can_be_given_in_place_of_its_training() {
    let config = read(GIVEN).0.expect("a configuration");
    assert_eq!(config.autoencoder, AutoencoderSection::Given { folder: "model".into() });
    assert_eq!(config.language_model, None);
    let source = config.diffusion.source.clone().expect("sources");
    assert_eq!(
        (source.encoder, source.max_tokens),
        (SourceEncoderChoice::Folder("bart".into()), 64)
    );
    let text = toml::to_string(&config).expect("TOML");
    assert_eq!(read(&text).0.expect("a configuration"), config);

    for (old, new, detail) in [
        ("folder = \"model\"", "folder = \"model\"\ntraining = {}", "leave out `training`"),
        ("folder = \"model\"", "data = []\nvalidation = []", "missing field `training`"),
        ("folder = \"model\"", "floder = \"model\"", "`floder`"),
        ("encoder = \"bart\"", "encodr = \"bart\"", "`encodr`"),
    ] {
        let (result, path) = read(&GIVEN.replacen(old, new, 1));
        let error = result.expect_err(detail);
        assert!(matches!(error, TrainingError::Config { .. }), "{error:?}");
        let message = error.to_string();
        assert!(message.contains(detail) && message.contains("line"), "{message}");
        assert!(message.contains(path.to_str().expect("a plain path")), "{message}");
    }
    let (_, sections) = MINIMAL.split_once("[autoencoder]").expect("sections");
    let trained = read(&format!("[autoencoder]{sections}")).0.expect_err("no language model");
    assert!(trained.to_string().contains("`language_model`: is missing"), "{trained}");
    let (language_model, _) = MINIMAL.split_once("[autoencoder]").expect("sections");
    let both = read(&format!("{language_model}{GIVEN}")).0.expect_err("two language models");
    assert!(both.to_string().contains("leave the section out"), "{both}");
}

#[test]
fn objectives_out_of_range_are_refused_by_name() {
    for (setting, name) in [
        ("source_dropout = 1.5", "diffusion.objective.source_dropout"),
        ("weight = { min_snr = { gamma = -1.0 } }", "gamma"),
        ("times = { logit_normal = { mean = 0.0, std = 0.0 } }", "std"),
        ("times = { importance = {} }", "diffusion.objective.times"),
        ("loss = { huber = { delta = 0.0 } }", "delta"),
    ] {
        let text = format!("{MINIMAL}\n[diffusion.objective]\n{setting}\n");
        let error = read(&text).0.expect_err(name);
        assert!(!matches!(error, TrainingError::Config { .. }), "{error:?}");
        assert!(error.to_string().contains(name), "{error} does not name {name}");
    }
}

#[test]
fn new_settings_that_are_not_used_leave_checkpoints_usable() {
    let config = read(MINIMAL).0.expect("a configuration");
    let section = serde_json::to_value(&config.diffusion).expect("JSON");
    let keys = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().expect("a table").keys().cloned().collect()
    };
    let objective = ["class_dropout", "loss", "self_conditioning"];
    let mut found = keys(&section["objective"]);
    found.sort();
    assert_eq!(found, objective);
    assert!(!keys(&section).contains(&"source".to_string()));
}
