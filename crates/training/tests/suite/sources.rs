//! Sequence-to-sequence training on an autoencoder that there is.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use burn::tensor::{Device, FloatDType};
use latent_text_autoencoder::{LanguageAutoencoder, LatentNorm, LatentSpace, PerceiverConfig};
use latent_text_denoiser::{DenoiserConfig, DenoisingNetworkConfig};
use latent_text_generation::{LatentText, Request, SourceEncoder};
use latent_text_language_model::LanguageModel;
use latent_text_testing::{device_turn, tiny_bart};
use latent_text_training::{Pipeline, PipelineStage, Progress, TrainingConfig, TrainingError};
use tempfile::TempDir;

use crate::common::{assert_same, copy, files};

const MAX_TOKENS: usize = 24;

const CONFIG: &str = r#"
seed = 7
max_tokens = 24

[autoencoder]
folder = "given"

[diffusion]
data = [{ path = "train.jsonl", source_column = "mr" }]
validation = [{ path = "valid.jsonl", source_column = "mr" }]
source = { max_tokens = 20 }
model = { latent_dim = 8, max_latents = 4, dim = 16, depth = 2, head_dim = 8, ff_mult = 2, time_dim_mult = 1, dense_connections = 1, dropout = 0.2 }
objective = { loss = "l1", self_conditioning = 0.5, source_dropout = 0.3, weight = { min_snr = { gamma = 5.0 } }, times = "low_discrepancy" }
sampling = { steps = 3, guidance = { name = "classifier_free", scale = 2.0 } }
decoding = { max_length = 24 }
training = { steps = 8, batch_size = 4, accumulation = 2, learning_rate = { peak = 1e-2, warmup_steps = 2 }, ema = { decay = 0.99, update_after = 2 }, log_every = 1, validate_every = 5, checkpoint_every = 3, keep_checkpoints = 100, samples = 2 }
"#;

/// A folder with data, a finished autoencoder and another language model.
struct Workshop {
    folder: TempDir,
    config: TrainingConfig,
    device: Device,
}

impl Workshop {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("train.jsonl"), records(30)).expect("a file");
        fs::write(folder.path().join("valid.jsonl"), records(9)).expect("a file");
        let device = Device::default();
        device.seed(3);
        let language_model = language_model(16, &device);
        language_model.save(&folder.path().join("own"), FloatDType::F32).expect("a model");
        let perceiver = PerceiverConfig {
            dim_lm: 16,
            latents: 4,
            latent_dim: 8,
            layers: 1,
            head_dim: 8,
            ff_mult: 2,
            max_tokens: MAX_TOKENS,
            latent_norm: LatentNorm::L2,
            ..PerceiverConfig::default()
        };
        let space =
            LatentSpace::Perceiver { perceiver: perceiver.init(&device), config: perceiver };
        LanguageAutoencoder::new(language_model, space)
            .expect("an autoencoder")
            .save(&folder.path().join("given"), FloatDType::F32)
            .expect("a folder");
        Self { folder, config: toml::from_str(CONFIG).expect("a configuration"), device }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(
        &self,
        output: &Path,
        only: Option<PipelineStage>,
        resume: bool,
    ) -> Result<Progress, TrainingError> {
        let pipeline = Pipeline {
            config: &self.config,
            data_root: self.folder.path(),
            output,
            device: &self.device,
            stop: &AtomicBool::new(false),
        };
        pipeline.run(only, resume)
    }

    fn finish(&self, name: &str, resume: bool) -> PathBuf {
        let output = self.path(name);
        let progress = self.run(&output, None, resume).expect("a training");
        assert_eq!(progress, Progress::Finished(output.join("model")));
        output
    }

    /// Refuses to start, with these words.
    #[track_caller]
    fn refuses(&self, expected: &[&str]) {
        let error = self.run(&self.path("refused"), None, false).expect_err("it can't be trained");
        let message = error.to_string();
        for words in expected {
            assert!(message.contains(words), "{message} lacks {words}");
        }
        assert!(!self.path("refused").exists());
    }
}

fn language_model(d_model: usize, device: &Device) -> LanguageModel {
    let lines = records(30);
    let config = tiny_bart(d_model, MAX_TOKENS);
    latent_text_testing::language_model(lines.lines(), 400, config, device)
}

fn shape(config: &mut TrainingConfig) -> &mut DenoiserConfig {
    match &mut config.diffusion.model {
        DenoisingNetworkConfig::Latent(shape) => shape,
        DenoisingNetworkConfig::EncoderSpace(_) => panic!("it is the latent one"),
    }
}

/// Sources of two or four slots; four do not fit into the limit.
fn records(count: usize) -> String {
    let names = ["The Mill", "The Eagle", "Aromi", "Cotto", "Zizzi"];
    let kinds = ["pub", "coffee shop"];
    let mut lines = String::new();
    for index in 0..count {
        let (name, kind) = (names[index % 5], kinds[index / 5 % 2]);
        let long =
            if index % 4 == 0 { ", area[the river], near[the old bridge of stone]" } else { "" };
        let mr = format!("name[{name}], eatType[{kind}]{long}");
        let label = ["low", "high"][index / 2 % 2];
        let record =
            format!(r#"{{"text": "{name} is a {kind}.", "mr": "{mr}", "label": "{label}"}}"#);
        lines.push_str(&record);
        lines.push('\n');
    }
    lines
}

#[test]
fn a_given_autoencoder_becomes_a_whole_model_for_sources() {
    let _turn = device_turn();
    let workshop = Workshop::new();
    let given = files(&workshop.path("given"));
    let output = workshop.finish("output", false);
    assert!(files(&workshop.path("given")) == given, "the given folder is only read");
    for stage in [PipelineStage::LanguageModel, PipelineStage::Autoencoder] {
        assert!(!output.join(stage.name()).exists(), "{}", stage.name());
    }
    let samples = fs::read_to_string(output.join("diffusion/samples.txt")).expect("samples");
    assert_eq!(samples.lines().count(), 4);
    for line in samples.lines() {
        let (_, sample) = line.split_once('\t').expect("a step");
        assert!(sample.starts_with("name[") && sample.contains("] -> "), "{line}");
    }

    let model = LatentText::load(&output.join("model"), &workshop.device).expect("a model");
    let source = model.config.source.as_ref().expect("it has sources");
    assert_eq!((source.encoder, source.max_tokens), (SourceEncoder::Autoencoder, 20));
    assert_eq!(model.config.denoiser.source_dim(), Some(16));
    assert!(model.config.null_trained);
    let sources = vec!["name[Cotto]".to_string(), "name[Zizzi]".to_string()];
    let request = Request { count: 3, sources, ..Request::default() };
    let texts = model.generate(&request, |_| ControlFlow::Continue(())).expect("texts");
    assert_eq!(texts[2].source.as_deref(), Some("name[Cotto]"));
}

#[test]
fn it_resumes_bit_by_bit_from_every_checkpoint() {
    let _turn = device_turn();
    let workshop = Workshop::new();
    let expected = workshop.finish("expected", false);
    for left in [0, 3, 6, 8] {
        let output = workshop.path(&format!("left{left}"));
        copy(&expected, &output);
        fs::remove_dir_all(output.join("model")).expect("the model");
        for step in [3, 6, 8].into_iter().filter(|step| *step > left) {
            let checkpoint = output.join(format!("diffusion/checkpoints/step-{step:09}"));
            fs::remove_dir_all(checkpoint).expect("a later checkpoint");
        }
        workshop.device.seed(left);
        workshop.finish(&format!("left{left}"), true);
        assert_same(&output, &expected, |_| true);
    }
}

#[test]
fn an_encoder_of_its_own_becomes_a_part_of_the_model() {
    let _turn = device_turn();
    let mut workshop = Workshop::new();
    language_model(32, &workshop.device)
        .save(&workshop.path("wide"), FloatDType::F32)
        .expect("a model");
    workshop.config.diffusion.source.as_mut().expect("sources").encoder = "wide".to_string().into();
    for set in
        workshop.config.diffusion.data.iter_mut().chain(&mut workshop.config.diffusion.validation)
    {
        set.label_column = Some("label".into());
    }
    let output = workshop.finish("output", false);
    fs::remove_dir_all(workshop.path("wide")).expect("the encoder");
    fs::remove_dir_all(workshop.path("given")).expect("the autoencoder");
    let model = LatentText::load(&output.join("model"), &workshop.device).expect("a model");
    assert_eq!(model.config.source.as_ref().expect("sources").encoder, SourceEncoder::Own);
    assert_eq!(
        (model.config.denoiser.source_dim(), model.config.denoiser.classes()),
        (Some(32), Some(2))
    );
    let request = Request {
        sources: vec!["name[Cotto]".to_string()],
        labels: vec!["low".to_string()],
        ..Request::default()
    };
    model.generate(&request, |_| ControlFlow::Continue(())).expect("a text");
}

#[test]
fn sources_make_a_difference_and_their_dropout_is_kept_in_mind() {
    let _turn = device_turn();
    let mut workshop = Workshop::new();
    let usual = workshop.finish("usual", false);
    let denoiser = |output: &Path| fs::read(output.join("model/denoiser.safetensors")).expect("it");
    let other = records(30).replace("eatType", "kind");
    fs::write(workshop.path("train.jsonl"), other).expect("a file");
    let changed = workshop.finish("changed", false);
    assert!(denoiser(&changed) != denoiser(&usual));
    let latents = "diffusion/latents-train.safetensors";
    assert!(
        fs::read(changed.join(latents)).expect("latents")
            == fs::read(usual.join(latents)).expect("latents")
    );

    workshop.config.diffusion.objective.source_dropout = 0.0;
    workshop.refuses(&["diffusion.sampling.guidance", "source_dropout"]);
    workshop.config.diffusion.sampling.guidance = Default::default();
    let kept = workshop.finish("kept", false);
    let model = LatentText::load(&kept.join("model"), &workshop.device).expect("a model");
    assert!(!model.config.null_trained);
}

#[test]
fn another_given_autoencoder_is_refused_on_resume() {
    let _turn = device_turn();
    let workshop = Workshop::new();
    let output = workshop.finish("output", false);
    fs::remove_dir_all(output.join("model")).expect("the model");
    let weights = workshop.path("given/autoencoder.safetensors");
    let mut bytes = fs::read(&weights).expect("the weights");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&weights, bytes).expect("writing");
    let error = workshop.run(&output, None, true).expect_err("another autoencoder");
    assert!(matches!(error, TrainingError::Checkpoint { .. }), "{error:?}");
    assert!(error.to_string().contains("other settings"), "{error}");
    // What lies beside the autoencoder does not count.
    let card = workshop.path("given/README.md");
    fs::write(card, "A card.").expect("writing");
    let fresh = workshop.finish("fresh", false);
    fs::remove_dir_all(fresh.join("model")).expect("the model");
    fs::write(workshop.path("given/README.md"), "Another card.").expect("writing");
    workshop.finish("fresh", true);
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_written() {
    let _turn = device_turn();
    let mut workshop = Workshop::new();
    let own = workshop.config.clone();
    for (change, expected) in [
        (
            (|config| config.max_tokens = 25) as fn(&mut TrainingConfig),
            &["max_tokens", "is 25", "no more than 24"][..],
        ),
        (|config| shape(config).latent_dim = 16, &["diffusion.model", "4 of 8"]),
        (|config| shape(config).max_latents = 3, &["diffusion.model", "4 of 8"]),
        (|config| shape(config).source_dim = Some(16), &["source_dim", "leave it out"]),
        (|config| config.diffusion.source = None, &["diffusion.source", "is missing"]),
        (|config| config.diffusion.validation[0].source_column = None, &["a source_column"]),
        (
            |config| config.diffusion.source.as_mut().expect("sources").max_tokens = 25,
            &["max_tokens = 25", "24 positions"],
        ),
        (
            |config| {
                let source = config.diffusion.source.as_mut().expect("sources");
                source.encoder = "nowhere".to_string().into();
            },
            &["nowhere"],
        ),
    ] {
        workshop.config = own.clone();
        change(&mut workshop.config);
        workshop.refuses(expected);
    }
    workshop.config = own;
    let only = Some(PipelineStage::Autoencoder);
    let error = workshop.run(&workshop.path("refused"), only, false).expect_err("no such stage");
    assert!(error.to_string().contains("no stage `autoencoder`"), "{error}");
    fs::remove_file(workshop.path("given/autoencoder.json")).expect("a file");
    workshop.refuses(&["autoencoder.json"]);
}
