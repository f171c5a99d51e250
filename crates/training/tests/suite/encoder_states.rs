//! Diffusion on the states of the language model's own encoder, as many as a text has tokens: LD4LG's
//! first version and "BART-Diffusion", from text to a model folder.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use burn::tensor::{Device, FloatDType};
use latent_text_autoencoder::{LanguageAutoencoder, LatentStatisticsAccumulator};
use latent_text_conditioning::LengthDistribution;
use latent_text_denoiser::DenoisingNetwork;
use latent_text_generation::{LatentText, Lengths, Request};
use latent_text_language_model::{BartConfig, LanguageModel};
use latent_text_nn::weights::TensorFile;
use latent_text_testing::{device_turn, tiny_bart};
use latent_text_training::{
    Pipeline, PipelineStage, Precision, Progress, TrainingConfig, TrainingError,
};
use tempfile::TempDir;

use crate::common::{assert_same, copy, files};

const MAX_TOKENS: usize = 24;
const WIDTH: usize = 16;

const FIRST_VERSION: &str = r#"
model = { kind = "encoder_space", latent_dim = 16, max_latents = 24, dim = 16, depth = 2, head_dim = 8, ff_mult = 2, time_dim_mult = 1, dropout = 0.2 }
schedule = { kind = { name = "table", betas = { name = "linear" } } }
prediction = "x0"
objective = { loss = "l1", class_dropout = 0.2 }
sampling = { steps = 5, sampler = "ddpm_small", spacing = { name = "trailing" } }
"#;

const BART_DIFFUSION: &str = r#"
model = { latent_dim = 16, max_latents = 24, dim = 16, depth = 2, head_dim = 8, ff_mult = 2, time_dim_mult = 1, dense_connections = 1, dropout = 0.2 }
prediction = "x0"
objective = { class_dropout = 0.2 }
sampling = { steps = 5 }
"#;

const STEPS: &str = "steps = 8, batch_size = 4, accumulation = 2, learning_rate = { peak = 1e-2, \
                     warmup_steps = 2 }, log_every = 1, validate_every = 5, checkpoint_every = 3, \
                     keep_checkpoints = 100, samples = 2";

fn config(columns: &str, diffusion: &str) -> TrainingConfig {
    let text = format!(
        r#"
seed = 7
max_tokens = {MAX_TOKENS}

[language_model]
folder = "bart"

[autoencoder]
latents = "encoder"

[diffusion]
data = [{{ path = "train.jsonl"{columns} }}]
validation = [{{ path = "valid.jsonl"{columns} }}]
decoding = {{ max_length = 24 }}
training = {{ {STEPS}, ema = {{ decay = 0.99, update_after = 2 }} }}
{diffusion}"#
    );
    let config: TrainingConfig = toml::from_str(&text).expect("a configuration");
    let written = toml::to_string(&config).expect("TOML");
    assert_eq!(toml::from_str::<TrainingConfig>(&written).expect("a configuration"), config);
    config
}

/// A folder with data and a language model.
struct Workshop {
    folder: TempDir,
    config: TrainingConfig,
    device: Device,
}

impl Workshop {
    fn new(config: TrainingConfig) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("train.jsonl"), records(30)).expect("a file");
        fs::write(folder.path().join("valid.jsonl"), records(9)).expect("a file");
        let device = Device::default();
        device.seed(3);
        let language_model = language_model(&device);
        language_model.save(&folder.path().join("bart"), FloatDType::F32).expect("a model");
        Self { folder, config, device }
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

    fn model(&self, output: &Path) -> LatentText {
        LatentText::load(&output.join("model"), &self.device).expect("a model")
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

fn language_model(device: &Device) -> LanguageModel {
    let lines = records(30);
    let config = BartConfig { init_std: 0.5, ..tiny_bart(WIDTH, MAX_TOKENS) };
    latent_text_testing::language_model(lines.lines(), 400, config, device)
}

/// Texts of different lengths; those that are labelled high are longer.
fn records(count: usize) -> String {
    let names = ["The Mill", "The Eagle", "Aromi", "Cotto", "Zizzi"];
    let mut lines = String::new();
    for index in 0..count {
        let name = names[index % 5];
        let (label, rest) = match index % 2 {
            0 => ("low", ""),
            _ => ("high", " near the river, cheap and quiet"),
        };
        lines += &format!(
            r#"{{"text": "{name} is a pub{rest}.", "mr": "name[{name}], price[{label}]", "label": "{label}"}}"#
        );
        lines.push('\n');
    }
    lines
}

fn generate(model: &LatentText, request: Request) -> Vec<usize> {
    let texts = model.generate(&request, |_| ControlFlow::Continue(())).expect("texts");
    texts.into_iter().map(|text| text.length.expect("a length")).collect()
}

const LABELS: &str = r#", label_column = "label""#;
const SOURCES: &str = r#", source_column = "mr""#;

#[test]
fn texts_become_a_model_of_both_networks_that_generates() {
    let _turn = device_turn();
    for (diffusion, told_steps) in [(FIRST_VERSION, true), (BART_DIFFUSION, false)] {
        let workshop = Workshop::new(config(LABELS, diffusion));
        let given = files(&workshop.path("bart"));
        let output = workshop.finish("output", false);
        assert!(files(&workshop.path("bart")) == given, "the given folder is only read");
        assert!(!output.join("language-model").exists());
        let model = workshop.model(&output);
        assert_eq!(matches!(model.denoiser, DenoisingNetwork::EncoderSpace(_)), told_steps);
        assert!(model.autoencoder.has_varying_lengths());
        assert_eq!(model.config.denoiser.classes(), Some(2));
        assert!(!output.join("model/autoencoder.safetensors").exists());

        let (lengths, statistics) = counted(&workshop);
        assert_eq!(model.config.lengths, Some(lengths.clone()));
        assert_eq!(model.config.statistics.count, statistics.count);
        assert!((model.config.statistics.scale / statistics.scale - 1.0).abs() < 1e-4);
        for (a, b) in model.config.statistics.mean.iter().zip(&statistics.mean) {
            assert!((a - b).abs() < 1e-4, "{a} against {b}");
        }

        let request = Request { count: 6, labels: vec!["low".into()], ..Request::default() };
        let drawn = generate(&model, request.clone());
        assert!(drawn.iter().all(|&length| lengths.probability(length) > 0.0), "{drawn:?}");
        let given = Request { lengths: Some(Lengths::Given(vec![3, 24])), ..request };
        assert_eq!(generate(&model, given), [3, 24, 3, 24, 3, 24]);
        let samples = fs::read_to_string(output.join("diffusion/samples.txt")).expect("samples");
        assert_eq!(samples.lines().count(), 4);
    }
}

/// What the lengths and the statistics of the training set should be: each text alone, without padding.
fn counted(workshop: &Workshop) -> (LengthDistribution, latent_text_autoencoder::LatentStatistics) {
    let autoencoder = workshop.path("output/autoencoder/result");
    let autoencoder =
        LanguageAutoencoder::load(&autoencoder, &workshop.device).expect("an autoencoder");
    let mut lengths = Vec::new();
    let mut statistics = LatentStatisticsAccumulator::new(WIDTH);
    for line in records(30).lines() {
        let record: serde_json::Value = serde_json::from_str(line).expect("a record");
        let text = record["text"].as_str().expect("a text");
        let latents = autoencoder.encode_texts(&[text]).expect("latents");
        let values = latents.real_values().expect("values").concat();
        statistics.add_values(&values);
        lengths.push(values.len() / WIDTH);
    }
    let lengths = LengthDistribution::from_lengths(lengths, MAX_TOKENS).expect("lengths");
    assert!(lengths.counts().iter().filter(|count| **count > 0).count() > 2);
    (lengths, statistics.finish().expect("statistics"))
}

#[test]
fn only_real_latents_are_kept_on_disk() {
    let _turn = device_turn();
    let workshop = Workshop::new(config("", BART_DIFFUSION));
    let output = workshop.finish("output", false);
    let (lengths, _) = counted(&workshop);
    let vectors: u64 = (1..).zip(lengths.counts()).map(|(length, count)| length * count).sum();
    let file = TensorFile::open(&output.join("diffusion/latents-train.safetensors"));
    let latents = file.expect("a cache").tensor::<2>("latents", &workshop.device);
    assert_eq!(latents.expect("latents").dims(), [vectors as usize, WIDTH]);
}

#[test]
fn it_resumes_bit_by_bit_from_every_checkpoint() {
    let _turn = device_turn();
    let lengths = format!("lengths = {{ hidden = 8, training = {{ {STEPS} }} }}\n");
    for diffusion in [format!("{lengths}{FIRST_VERSION}"), format!("{lengths}{BART_DIFFUSION}")] {
        let workshop = Workshop::new(config(LABELS, &diffusion));
        let expected = workshop.finish("expected", false);
        for (folder, left) in [
            ("diffusion/lengths", 0),
            ("diffusion/lengths", 6),
            ("diffusion", 0),
            ("diffusion", 3),
            ("diffusion", 8),
        ] {
            let name = format!("left{}{left}", folder.len());
            let output = workshop.path(&name);
            copy(&expected, &output);
            fs::remove_dir_all(output.join("model")).expect("the model");
            if folder == "diffusion/lengths" {
                fs::remove_dir_all(output.join("diffusion/checkpoints")).expect("checkpoints");
            }
            for step in [3, 6, 8].into_iter().filter(|step| *step > left) {
                let checkpoint = output.join(format!("{folder}/checkpoints/step-{step:09}"));
                fs::remove_dir_all(checkpoint).expect("a later checkpoint");
            }
            workshop.device.seed(left);
            workshop.finish(&name, true);
            assert_same(&output, &expected, |_| true);
        }
    }
}

#[test]
fn lengths_are_predicted_from_labels_and_from_sources() {
    let _turn = device_turn();
    let training = "training = { steps = 150, batch_size = 16, learning_rate = { peak = 3e-2, \
                    warmup_steps = 5 } }";
    let lengths = format!("lengths = {{ hidden = 16, {training} }}\n");
    let source = "source = { max_tokens = 20 }\n";
    for (columns, diffusion, conditions) in [
        (LABELS, format!("{lengths}{FIRST_VERSION}"), ["low", "high"]),
        (
            SOURCES,
            format!("{lengths}{source}{BART_DIFFUSION}"),
            ["name[Cotto], price[low]", "name[Cotto], price[high]"],
        ),
    ] {
        let workshop = Workshop::new(config(columns, &diffusion));
        let output = workshop.finish("output", false);
        let metrics = fs::read_to_string(output.join("diffusion/lengths/metrics.jsonl"));
        assert!(metrics.expect("metrics").contains("validation_loss"));
        let model = workshop.model(&output);
        let predictor = model.config.length_predictor.as_ref().expect("a predictor");
        assert_eq!((predictor.hidden, predictor.max_length), (16, MAX_TOKENS));
        let conditions = conditions.map(str::to_string).to_vec();
        let request = Request {
            count: 40,
            lengths: Some(Lengths::Predicted),
            steps: Some(1),
            ..match columns {
                LABELS => Request { labels: conditions, ..Request::default() },
                _ => Request { sources: conditions, ..Request::default() },
            }
        };
        let lengths = generate(&model, request);
        let mean = |first: usize| lengths.iter().skip(first).step_by(2).sum::<usize>() / 20;
        assert!(mean(0) + 3 < mean(1), "low is short and high is long: {lengths:?}");
    }
}

#[test]
fn half_precision_trains_all_networks() {
    let _turn = device_turn();
    let lengths = format!("lengths = {{ hidden = 8, training = {{ {STEPS} }} }}\n");
    let source = "source = { max_tokens = 20 }\n";
    for (columns, diffusion) in [
        (LABELS, format!("{lengths}{FIRST_VERSION}")),
        (SOURCES, format!("{lengths}{source}{BART_DIFFUSION}")),
    ] {
        let mut workshop = Workshop::new(config(columns, &diffusion));
        workshop.config.precision = Precision::Bf16;
        let model = workshop.model(&workshop.finish("output", false));
        let sources = match columns {
            SOURCES => vec!["name[Cotto], price[low]".to_string()],
            _ => Vec::new(),
        };
        assert_eq!(generate(&model, Request { count: 3, sources, ..Request::default() }).len(), 3);
    }
}

#[test]
fn a_given_autoencoder_may_be_of_encoder_states() {
    let _turn = device_turn();
    let mut workshop = Workshop::new(config("", BART_DIFFUSION));
    let first = workshop.finish("first", false);
    let folder = first.join("model");
    let text = format!("[autoencoder]\nfolder = {folder:?}\n");
    let whole = toml::to_string(&workshop.config).expect("TOML");
    let (_, diffusion) = whole.split_once("[diffusion]").expect("a section");
    workshop.config = toml::from_str(&format!(
        "seed = 7\nmax_tokens = {MAX_TOKENS}\n{text}[diffusion]{diffusion}"
    ))
    .expect("a configuration");
    let second = workshop.finish("second", false);
    let denoiser = |output: &Path| fs::read(output.join("model/denoiser.safetensors")).expect("it");
    // The model's encoder is stored in half precision, so its latents are others.
    assert_eq!(denoiser(&second).len(), denoiser(&first).len());
    let model = workshop.model(&second);
    assert_eq!(generate(&model, Request { count: 2, ..Request::default() }).len(), 2);
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_written() {
    let _turn = device_turn();
    let lengths = "lengths = { hidden = 8 }\n";
    let refuses = |columns: &str, diffusion: &str, words: &[&str]| {
        Workshop::new(config(columns, diffusion)).refuses(words);
    };
    let continuous = FIRST_VERSION
        .replace("schedule = { kind = { name = \"table\", betas = { name = \"linear\" } } }", "");
    refuses("", &continuous, &["diffusion.schedule", "continuous", "`table`"]);
    let source = format!("source = {{ max_tokens = 20 }}\n{FIRST_VERSION}");
    refuses(SOURCES, &source, &["diffusion.source", "encoder_space", "reads no sources"]);
    let narrow = BART_DIFFUSION.replace("latent_dim = 16", "latent_dim = 8");
    refuses("", &narrow, &["diffusion.model", "latents of 8", "24 of 16"]);
    let short = FIRST_VERSION.replace("max_latents = 24", "max_latents = 20");
    refuses("", &short, &["diffusion.model", "up to 20", "24 of 16"]);
    refuses("", &format!("{lengths}{FIRST_VERSION}"), &["diffusion.lengths", "neither labels"]);
    let none = format!("lengths = {{ hidden = 0 }}\n{FIRST_VERSION}");
    refuses(LABELS, &none, &["diffusion.lengths.hidden", "at least 1"]);
    let classes = FIRST_VERSION.replace("latent_dim = 16", "latent_dim = 16, classes = 2");
    refuses(LABELS, &classes, &["diffusion.model.classes", "leave it out"]);

    let mut workshop = Workshop::new(config("", BART_DIFFUSION));
    workshop.config.max_tokens = 25;
    workshop.refuses(&["max_tokens", "25", "24"]);
    let only = Some(PipelineStage::LanguageModel);
    workshop.config.max_tokens = MAX_TOKENS;
    let error = workshop.run(&workshop.path("refused"), only, false).expect_err("no such stage");
    assert!(error.to_string().contains("no stage `language-model`"), "{error}");
}
