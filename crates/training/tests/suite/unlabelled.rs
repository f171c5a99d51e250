//! Class-conditional training with texts that have no label.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use burn::tensor::{Device, FloatDType};
use latent_text_autoencoder::{LanguageAutoencoder, LatentNorm, LatentSpace, PerceiverConfig};
use latent_text_generation::{LatentText, Request};
use latent_text_testing::{device_turn, tiny_bart};
use latent_text_training::{Pipeline, TrainingConfig, TrainingError};
use tempfile::TempDir;

const CONFIG: &str = r#"
seed = 7
max_tokens = 24

[autoencoder]
folder = "given"

[diffusion]
data = [{ path = "train.csv", label_column = "kind", limit = 10 }, { path = "train.csv", skip = 10 }]
validation = [{ path = "valid.csv" }]
model = { latent_dim = 8, max_latents = 4, dim = 16, depth = 2, head_dim = 8, ff_mult = 2, time_dim_mult = 1, dense_connections = 1, dropout = 0.0 }
objective = { class_dropout = 0.0 }
sampling = { steps = 2, guidance = { name = "classifier_free", scale = 2.0 } }
decoding = { max_length = 24 }
training = { steps = 4, batch_size = 8, learning_rate = { peak = 1e-2, warmup_steps = 0 }, samples = 1 }
"#;

/// A folder with data and a finished autoencoder.
struct Workshop {
    folder: TempDir,
    config: TrainingConfig,
    device: Device,
}

impl Workshop {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("train.csv"), records(30, "")).expect("a file");
        fs::write(folder.path().join("valid.csv"), records(9, "low")).expect("a file");
        let device = Device::default();
        autoencoder(&device).save(&folder.path().join("given"), FloatDType::F32).expect("a folder");
        Self { folder, config: toml::from_str(CONFIG).expect("a configuration"), device }
    }

    fn run(&self, name: &str) -> Result<PathBuf, TrainingError> {
        let output = self.folder.path().join(name);
        let pipeline = Pipeline {
            config: &self.config,
            data_root: self.folder.path(),
            output: &output,
            device: &self.device,
            stop: &AtomicBool::new(false),
        };
        pipeline.run(None, false).map(|_| output)
    }
}

fn autoencoder(device: &Device) -> LanguageAutoencoder {
    let lines = records(30, "");
    let perceiver = PerceiverConfig {
        dim_lm: 16,
        latents: 4,
        latent_dim: 8,
        layers: 1,
        head_dim: 8,
        ff_mult: 2,
        max_tokens: 24,
        latent_norm: LatentNorm::L2,
        ..PerceiverConfig::default()
    };
    device.seed(3);
    let bart = tiny_bart(16, 24);
    let language_model = latent_text_testing::language_model(lines.lines(), 300, bart, device);
    let space = LatentSpace::Perceiver { perceiver: perceiver.init(device), config: perceiver };
    LanguageAutoencoder::new(language_model, space).expect("an autoencoder")
}

/// The first ten have labels, the others what is given.
fn records(count: usize, rest: &str) -> String {
    let names = ["The Mill", "The Eagle", "Aromi", "Cotto", "Zizzi"];
    let mut lines = "text,kind\n".to_string();
    for index in 0..count {
        let label = if index < 10 { ["low", "high"][index % 2] } else { rest };
        lines += &format!("{} is a pub of {} rooms.,{label}\n", names[index % 5], index / 5);
    }
    lines
}

fn denoiser(output: &Path) -> Vec<u8> {
    fs::read(output.join("model/denoiser.safetensors")).expect("a denoiser")
}

#[test]
fn unlabelled_texts_join_and_teach_the_null_class() {
    let _turn = device_turn();
    let mut workshop = Workshop::new();
    let mixed = workshop.run("mixed").expect("a training");
    let model = LatentText::load(&mixed.join("model"), &workshop.device).expect("a model");
    assert_eq!(model.config.denoiser.classes(), Some(2));
    assert!(model.config.null_trained, "without class dropout, the unlabelled texts teach it");
    for labels in [vec!["low".to_string()], Vec::new()] {
        let request = Request { labels, ..Request::default() };
        model.generate(&request, |_| ControlFlow::Continue(())).expect("a text");
    }

    // Whatever stands in the column of a set that does not name it, it makes no difference.
    let labels = records(30, "cheap");
    fs::write(workshop.folder.path().join("train.csv"), labels).expect("a file");
    let hidden = workshop.run("hidden").expect("a training");
    assert!(denoiser(&hidden) == denoiser(&mixed));

    // The other texts and their labels do.
    workshop.config.diffusion.data[1].label_column = Some("kind".into());
    workshop.config.diffusion.validation[0].label_column = Some("kind".into());
    workshop.config.diffusion.sampling.guidance = Default::default();
    let labelled = workshop.run("labelled").expect("a training");
    assert!(denoiser(&labelled) != denoiser(&mixed));
    let model = LatentText::load(&labelled.join("model"), &workshop.device).expect("a model");
    assert_eq!(model.config.labels.expect("classes").names(), ["cheap", "high", "low"]);
    assert!(!model.config.null_trained);
    // Samples for the log have a class then, since the null class can't be asked for.
    let samples = fs::read_to_string(labelled.join("diffusion/samples.txt")).expect("samples");
    assert!(samples.contains("\tcheap -> "), "{samples}");

    workshop.config.diffusion.data.truncate(1);
    workshop.config.diffusion.validation[0].label_column = Some("kind".into());
    let few = workshop.run("few").expect("a training");
    assert!(denoiser(&few) != denoiser(&mixed));
}

#[test]
fn a_label_that_is_missing_in_a_labelled_set_is_an_error() {
    let _turn = device_turn();
    let mut workshop = Workshop::new();
    workshop.config.diffusion.data[0].limit = Some(11);
    let error = workshop.run("refused").expect_err("a label is missing");
    let message = error.to_string();
    assert!(message.contains("line 12") && message.contains("`kind` is empty"), "{message}");
    assert!(!workshop.folder.path().join("refused").exists());
}

#[test]
fn a_label_whose_texts_are_all_too_long_is_an_error() {
    let _turn = device_turn();
    let mut workshop = Workshop::new();
    let long = format!("text,kind\n{}rooms.,vast\n", "a pub of many rooms and ".repeat(12));
    fs::write(workshop.folder.path().join("long.csv"), long).expect("a file");
    let mut set = workshop.config.diffusion.data[0].clone();
    set.path = "long.csv".into();
    workshop.config.diffusion.data.push(set);
    let error = workshop.run("refused").expect_err("no text of a class fits");
    let expected = "is 24, which none of the texts with the label `vast` fits into";
    assert!(error.to_string().contains(expected), "{error}");
}
