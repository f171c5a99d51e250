use std::fs;
use std::path::{Path, PathBuf};

use latent_text_training::optimisation::{Decay, EmaConfig};
use latent_text_training::source::SourceEncoderChoice;
use latent_text_training::stage::{AutoencoderObjective, LanguageModelMode, TokenReplacement};
use latent_text_training::{
    AutoencoderSection, LanguageModelSection, OwnStates, Precision, TrainingConfig, TrainingError,
};

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
    let language_model = config.language_model.expect("a section");
    assert_eq!(language_model.training().expect("it is trained").vocabulary, 4096);
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
    assert_eq!(examples.len(), 5);
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

const CLASSES: &str = r#"
[autoencoder]
folder = "model"

[diffusion]
data = [{ path = "texts.csv", label_column = "kind", limit = 10 }, { path = "texts.csv", skip = 10 }]
validation = [{ path = "texts.csv", label_column = "kind" }, { path = "texts.csv" }]
sampling = { guidance = { name = "classifier_free", scale = 2.0 } }
objective = { class_dropout = 0.0 }
training = {}
"#;

#[test]
fn texts_without_labels_may_stand_beside_others_and_teach_the_null_class() {
    let config = read(CLASSES).0.expect("a configuration");
    assert_eq!((config.diffusion.data[0].skip, config.diffusion.data[1].skip), (0, 10));
    let text = toml::to_string(&config).expect("TOML");
    assert_eq!(read(&text).0.expect("a configuration"), config);
    for (old, new, detail) in [
        // Without them, guidance has no null class to start from.
        (", { path = \"texts.csv\", skip = 10 }]", "]", "diffusion.validation"),
        (
            ", { path = \"texts.csv\", skip = 10 }]\nvalidation = [{ path = \"texts.csv\", label_column = \"kind\" }, { path = \"texts.csv\" }]",
            "]\nvalidation = [{ path = \"texts.csv\", label_column = \"kind\" }]",
            "diffusion.sampling.guidance",
        ),
    ] {
        assert!(CLASSES.contains(old), "{old}");
        let error = read(&CLASSES.replacen(old, new, 1)).0.expect_err(detail);
        assert!(error.to_string().contains(detail), "{error}");
    }
    let validated_on_null =
        CLASSES.replacen("{ path = \"texts.csv\", label_column = \"kind\" }, ", "", 1);
    read(&validated_on_null).0.expect("a configuration");
}

const ENCODER_STATES: &str = r#"
[language_model]
folder = "bart"

[autoencoder]
latents = "encoder"

[diffusion]
data = [{ path = "texts.csv", label_column = "kind" }]
validation = [{ path = "texts.csv", label_column = "kind" }]
model = { kind = "encoder_space", dropout = 0.0 }
schedule = { kind = { name = "table" } }
prediction = "x0"
sampling = { spacing = { name = "trailing" } }
lengths = {}
training = {}
"#;

#[test]
fn latents_may_be_the_encoder_s_states() {
    let config = read(ENCODER_STATES).0.expect("a configuration");
    assert_eq!(
        config.autoencoder,
        AutoencoderSection::EncoderStates { latents: OwnStates::Encoder }
    );
    assert!(config.diffusion.model.is_told_steps());
    let lengths = config.diffusion.lengths.as_ref().expect("a section");
    assert_eq!((lengths.hidden, lengths.training.steps), (256, 10_000));
    let text = toml::to_string(&config).expect("TOML");
    assert_eq!(read(&text).0.expect("a configuration"), config);
}

#[test]
fn encoder_states_that_can_not_be_used_are_refused_by_name() {
    const LATENTS: &str = "latents = \"encoder\"";
    for (old, new, detail) in [
        (LATENTS, "latents = \"encoder\"\nfolder = \"model\"", "leave out `latents`"),
        (LATENTS, "latents = \"encoder\"\ntraining = {}", "leave out `training`, or `latents`"),
        (LATENTS, "latents = \"decoder\"", "`decoder`"),
        ("folder = \"bart\"", "folder = \"bart\"\ntraining = {}", "leave out `training`"),
        ("[language_model]\nfolder = \"bart\"", "", "`language_model`: is missing"),
        ("kind = \"encoder_space\"", "kind = \"encoder\"", "`encoder`"),
        ("dropout = 0.0", "dense_connections = 1", "`dense_connections`"),
        ("dropout = 0.0", "relative_buckets = 3", "relative_buckets"),
        ("dropout = 0.0", "classes = 3", "diffusion.model.classes"),
        ("schedule = { kind = { name = \"table\" } }", "", "diffusion.schedule"),
        ("{ name = \"trailing\" }", "{ name = \"karras\", rho = -1.0 }", "diffusion.sampling"),
        ("lengths = {}", "lengths = { hidden = 0 }", "diffusion.lengths.hidden"),
        (
            "lengths = {}",
            "lengths = { training = { steps = 0 } }",
            "diffusion.lengths.training.steps",
        ),
        ("lengths = {}", "lengths = { width = 3 }", "`width`"),
        ("label_column = \"kind\"", "limit = 3", "diffusion.lengths"),
    ] {
        assert!(ENCODER_STATES.contains(old), "{old}");
        let error = read(&ENCODER_STATES.replace(old, new)).0.expect_err(detail);
        assert!(error.to_string().contains(detail), "{error} does not name {detail}");
    }
    // A trained language model's width is known beforehand.
    let (first, _) = MINIMAL.split_once("[autoencoder]").expect("sections");
    let (_, rest) = ENCODER_STATES.split_once("[autoencoder]").expect("sections");
    let trained = format!("{first}[autoencoder]{rest}");
    let error = read(&trained).0.expect_err("another width");
    assert!(
        error.to_string().contains("latents of 768, the autoencoder makes 64 of 256"),
        "{error}"
    );
    let fitting = trained.replace("dropout = 0.0", "latent_dim = 256");
    read(&fitting).0.expect("a configuration");
    let rescaled = fitting.replace("sampling = { ", "sampling = { rescale_x0 = true, ");
    let error = read(&rescaled).0.expect_err("no norm");
    assert!(error.to_string().contains("diffusion.sampling.rescale_x0"), "{error}");
}

#[test]
fn sampling_that_the_schedule_does_not_allow_is_refused_at_once() {
    let text = format!("{MINIMAL}\n[diffusion.sampling]\nspacing = {{ name = \"trailing\" }}\n");
    let error = read(&text).0.expect_err("no table");
    assert!(error.to_string().contains("diffusion.sampling"), "{error}");
    let text = format!("{MINIMAL}\n[diffusion.lengths]\n");
    let text =
        text.replace("path = \"texts.txt\"", "path = \"texts.csv\", label_column = \"kind\"");
    let error = read(&text).0.expect_err("all are of one length");
    assert!(error.to_string().contains("all texts have 32 latents"), "{error}");
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
    assert_eq!(keys(&section["data"][0]), ["path", "repeat", "text_column"]);
}

#[test]
fn a_language_model_can_be_given_in_place_of_its_training() {
    let (_, rest) = MINIMAL.split_once("[autoencoder]").expect("sections");
    let given = format!("[language_model]\nfolder = \"bart-base\"\n\n[autoencoder]{rest}");
    let config = read(&given).0.expect("a configuration");
    let folder = "bart-base".into();
    assert_eq!(config.language_model, Some(LanguageModelSection::Given { folder }));
    let text = toml::to_string(&config).expect("TOML");
    assert_eq!(read(&text).0.expect("a configuration"), config);

    for (old, new, detail) in [
        (
            "folder = \"bart-base\"",
            "folder = \"bart-base\"\nvocabulary = 9",
            "leave out `vocabulary`",
        ),
        ("folder = \"bart-base\"", "data = []\nvalidation = []", "missing field `training`"),
        ("folder = \"bart-base\"", "floder = \"bart-base\"", "`floder`"),
    ] {
        let (result, path) = read(&given.replacen(old, new, 1));
        let error = result.expect_err(detail);
        assert!(matches!(error, TrainingError::Config { .. }), "{error:?}");
        let message = error.to_string();
        assert!(message.contains(detail) && message.contains("line"), "{message}");
        assert!(message.contains(path.to_str().expect("a plain path")), "{message}");
    }
}

#[test]
fn objectives_of_the_autoencoder_are_read_and_those_out_of_range_refused() {
    let with =
        |settings: &str| read(&format!("{MINIMAL}\n[autoencoder.objective]\n{settings}\n")).0;
    let all = r#"latent_noise = 0.1
kl = 1e-6
token_dropout = 0.2
token_replacement = "random"
language_model_training = "fine_tuned"
language_model_dropout = true"#;
    let config = with(all).expect("a configuration");
    let autoencoder = config.autoencoder.training().expect("it is trained");
    let expected = AutoencoderObjective {
        latent_noise: 0.1,
        kl: 1e-6,
        token_dropout: 0.2,
        token_replacement: TokenReplacement::Random,
        language_model_training: LanguageModelMode::FineTuned,
        language_model_dropout: true,
    };
    assert_eq!(autoencoder.objective, expected);
    assert!(autoencoder.perceiver(256, 64).gaussian_posterior);
    let text = toml::to_string(&config).expect("TOML");
    assert_eq!(read(&text).0.expect("a configuration"), config);

    for (setting, name) in [
        ("kl = -1e-6", "autoencoder.objective.kl"),
        ("kl = inf", "autoencoder.objective.kl"),
        ("latent_noise = nan", "autoencoder.objective.latent_noise"),
        ("token_dropout = 1.5", "autoencoder.objective.token_dropout"),
    ] {
        let error = with(setting).expect_err(name);
        assert!(error.to_string().contains(name), "{error} does not name {name}");
    }
    for (setting, detail) in [
        ("token_replacement = \"nothing\"", "`nothing`"),
        ("language_model_training = \"thawed\"", "`thawed`"),
    ] {
        let error = with(setting).expect_err(detail);
        assert!(matches!(&error, TrainingError::Config { .. }), "{error:?}");
        assert!(error.to_string().contains(detail), "{error} lacks {detail}");
    }
}

#[test]
fn what_older_checkpoints_of_the_first_stages_are_compared_by_is_unchanged() {
    let config = read(MINIMAL).0.expect("a configuration");
    let keys = |value: &serde_json::Value| -> Vec<String> {
        let mut keys: Vec<String> = value.as_object().expect("a table").keys().cloned().collect();
        keys.sort();
        keys
    };
    let section = serde_json::to_value(config.autoencoder.training()).expect("JSON");
    assert_eq!(keys(&section), ["data", "model", "objective", "training", "validation"]);
    assert_eq!(keys(&section["objective"]), ["latent_noise"]);
    let shape = ["ff_mult", "head_dim", "latent_dim", "latent_norm", "latents", "layers"];
    assert_eq!(keys(&section["model"]), shape);
    let language_model = config.language_model.expect("a section");
    let section = serde_json::to_value(language_model.training()).expect("JSON");
    let expected = ["data", "model", "noising", "training", "validation", "vocabulary"];
    assert_eq!(keys(&section), expected);
}

#[test]
fn settings_that_a_finished_model_could_not_use_are_refused_at_once() {
    let labelled =
        MINIMAL.replace("path = \"texts.txt\"", "path = \"texts.csv\", label_column = \"kind\"");
    let auto = "{ name = \"autoguidance\", scale = 2.0 }";
    for (text, section, setting, named) in [
        (&labelled, "sampling", format!("guidance = {auto}"), "weaker denoiser"),
        (
            &labelled,
            "sampling",
            format!("guidance = {{ name = \"rescaled\", inner = {auto} }}"),
            "weaker denoiser",
        ),
        (
            &MINIMAL.to_string(),
            "sampling",
            "guidance = { name = \"classifier_free\", scale = 2.0 }".to_string(),
            "without labels and sources",
        ),
        (&labelled, "decoding", "returns = 2".to_string(), "diffusion.decoding.returns"),
        (&labelled, "decoding", "decoding = { beam = { beams = 0 } }".to_string(), "beams"),
        (
            &labelled,
            "decoding",
            "decoding = { sampling = { top_p = nan } }".to_string(),
            "diffusion.decoding",
        ),
        (&labelled, "decoding", "prefix = [1000000]".to_string(), "1000000"),
    ] {
        let text = format!("{text}\n[diffusion.{section}]\n{setting}\n");
        let error = read(&text).0.expect_err(named);
        assert!(!matches!(error, TrainingError::Config { .. }), "{error:?}");
        assert!(error.to_string().contains(named), "{error} does not name {named}");
    }
    let text = format!("{MINIMAL}\n[autoencoder.objective]\ntoken_replacement = \"random\"\n");
    let error = read(&text).0.expect_err("no token is replaced");
    assert!(error.to_string().contains("autoencoder.objective.token_replacement"), "{error}");
}
