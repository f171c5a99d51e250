use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use burn::tensor::Device;
use latent_text_autoencoder::LatentNorm;
use latent_text_generation::{LatentText, Request};
use latent_text_testing::device_turn;
use latent_text_training::report::read_metrics;
use latent_text_training::{
    AutoencoderSection, AutoencoderTraining, LanguageModelSection, LanguageModelTraining, Pipeline,
    PipelineStage, Precision, Progress, TrainingConfig, TrainingError,
};
use tempfile::TempDir;

use crate::common::{assert_same, copy, files};

const STEPS: u64 = 8;

const CONFIG: &str = r#"
seed = 7
max_tokens = 24

[language_model]
vocabulary = 300
data = [{ path = "train.jsonl" }]
validation = [{ path = "valid.jsonl" }]
model = { d_model = 16, encoder_layers = 1, decoder_layers = 1, heads = 2, ffn_dim = 32, dropout = 0.2 }
training = { steps = 8, batch_size = 4, accumulation = 2, learning_rate = { peak = 1e-2, warmup_steps = 2 }, log_every = 1, validate_every = 5, checkpoint_every = 3, keep_checkpoints = 100, samples = 1 }

[autoencoder]
data = [{ path = "train.jsonl" }]
validation = [{ path = "valid.jsonl" }]
model = { latents = 4, latent_dim = 8, layers = 1, head_dim = 8, ff_mult = 2 }
objective = { latent_noise = 0.2 }
training = { steps = 8, batch_size = 4, accumulation = 2, learning_rate = { peak = 1e-2, warmup_steps = 2 }, log_every = 1, validate_every = 5, checkpoint_every = 3, keep_checkpoints = 100, samples = 1 }

[diffusion]
data = [{ path = "train.jsonl", label_column = "label" }]
validation = [{ path = "valid.jsonl", label_column = "label" }]
model = { latent_dim = 8, max_latents = 4, dim = 16, depth = 2, head_dim = 8, ff_mult = 2, time_dim_mult = 1, dense_connections = 1, dropout = 0.2 }
objective = { self_conditioning = 0.5, class_dropout = 0.3 }
sampling = { steps = 3 }
decoding = { max_length = 24 }
training = { steps = 8, batch_size = 4, accumulation = 2, learning_rate = { peak = 1e-2, warmup_steps = 2 }, ema = { decay = 0.99, update_after = 2 }, log_every = 1, validate_every = 5, checkpoint_every = 3, keep_checkpoints = 100, samples = 1 }
"#;

/// A folder with data, and space for outputs.
struct Workshop {
    folder: TempDir,
    config: TrainingConfig,
    device: Device,
}

impl Workshop {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("train.jsonl"), texts(30)).expect("a file");
        fs::write(folder.path().join("valid.jsonl"), texts(9)).expect("a file");
        let config: TrainingConfig = toml::from_str(CONFIG).expect("a configuration");
        Self { folder, config, device: Device::default() }
    }

    fn run(
        &self,
        output: &Path,
        only: Option<PipelineStage>,
        resume: bool,
        stop: &AtomicBool,
    ) -> Result<Progress, TrainingError> {
        let pipeline = Pipeline {
            config: &self.config,
            data_root: self.folder.path(),
            output,
            device: &self.device,
            stop,
        };
        pipeline.run(only, resume)
    }

    fn finish(&self, output: &Path, resume: bool) {
        // Whatever the device's generator was used for before makes no difference.
        self.device.seed(output.as_os_str().len() as u64);
        let progress = self.run(output, None, resume, &AtomicBool::new(false)).expect("a training");
        assert_eq!(progress, Progress::Finished(output.join("model")));
    }
}

fn language_model(config: &mut TrainingConfig) -> &mut LanguageModelTraining {
    match config.language_model.as_mut().expect("there is one") {
        LanguageModelSection::Trained(training) => training,
        LanguageModelSection::Given { .. } => panic!("it is given"),
    }
}

fn autoencoder(config: &mut TrainingConfig) -> &mut AutoencoderTraining {
    match &mut config.autoencoder {
        AutoencoderSection::Trained(training) => training,
        AutoencoderSection::Given { .. } | AutoencoderSection::EncoderStates { .. } => {
            panic!("it is not trained")
        }
    }
}

fn texts(count: usize) -> String {
    let names = ["The Mill", "The Eagle", "Aromi", "The Vaults", "Cotto", "Zizzi", "The Punter"];
    let kinds = ["pub", "coffee shop", "restaurant"];
    let places = ["near the river.", "in the city centre! It is cheap.", "for families."];
    let mut lines = String::new();
    for index in 0..count {
        let (name, kind, place) = (names[index % 7], kinds[index % 3], places[index / 3 % 3]);
        let label = ["low", "high"][index / 2 % 2];
        writeln!(lines, r#"{{"text": "{name} is a {kind} {place}", "label": "{label}"}}"#)
            .expect("a string can be written to");
    }
    lines
}

#[test]
fn a_killed_pipeline_resumes_bit_by_bit_in_every_stage() {
    let _turn = device_turn();
    let workshop = Workshop::new();
    let expected = workshop.folder.path().join("expected");
    workshop.finish(&expected, false);
    let [language_model, autoencoder, diffusion] = PipelineStage::ALL.map(PipelineStage::name);
    for (name, stage, left) in [
        ("a", language_model, 0),
        ("b", language_model, 3),
        ("c", language_model, 8),
        ("d", autoencoder, 3),
        ("e", autoencoder, 6),
        ("f", diffusion, 0),
        ("g", diffusion, 3),
        ("h", diffusion, 6),
        ("i", diffusion, 8),
    ] {
        let output = workshop.folder.path().join(name);
        copy(&expected, &output);
        // As if the process had ended after checkpoint `left`, with later metrics already written.
        let later = PipelineStage::ALL.iter().skip_while(|later| later.name() != stage).skip(1);
        for later in later {
            fs::remove_dir_all(output.join(later.name())).expect("a later stage");
        }
        fs::remove_dir_all(output.join("model")).expect("the model");
        if stage != diffusion {
            fs::remove_dir_all(output.join(stage).join("result")).expect("the result");
        }
        for step in [3, 6, 8].into_iter().filter(|step| *step > left) {
            let checkpoint = format!("{stage}/checkpoints/step-{step:09}");
            fs::remove_dir_all(output.join(checkpoint)).expect("a later checkpoint");
        }
        workshop.finish(&output, true);
        assert_same(&output, &expected, |_| true);
    }
}

#[test]
fn other_formats_of_numbers_and_latents_resume_bit_by_bit() {
    let _turn = device_turn();
    for (precision, latent_norm) in
        [(Precision::Bf16, LatentNorm::L2), (Precision::F32, LatentNorm::None)]
    {
        let mut workshop = Workshop::new();
        workshop.config.precision = precision;
        autoencoder(&mut workshop.config).model.latent_norm = latent_norm;
        let output = workshop.folder.path().join("output");
        workshop.finish(&output, false);
        let expected = files(&output);
        for stage in PipelineStage::ALL {
            for step in [6, 8] {
                let checkpoint = format!("{}/checkpoints/step-{step:09}", stage.name());
                fs::remove_dir_all(output.join(checkpoint)).expect("a checkpoint");
            }
            let _ = fs::remove_dir_all(output.join(stage.name()).join("result"));
        }
        fs::remove_dir_all(output.join("model")).expect("the model");
        workshop.finish(&output, true);
        assert!(files(&output) == expected, "{precision:?}, {latent_norm:?}");
    }
}

#[test]
fn a_pipeline_that_is_stopped_resumes_bit_by_bit() {
    let _turn = device_turn();
    let workshop = Workshop::new();
    let expected = workshop.folder.path().join("expected");
    workshop.finish(&expected, false);
    let output = workshop.folder.path().join("stopped");
    let mut interrupted = Vec::new();
    // A flag that is set before the start stops each stage before its first step.
    let progress = workshop.run(&output, None, false, &AtomicBool::new(true)).expect("a start");
    let stage = PipelineStage::LanguageModel;
    assert_eq!(progress, Progress::Interrupted { stage, step: 0 });
    loop {
        let stop = AtomicBool::new(false);
        let lines = logged(&output);
        let ended = AtomicBool::new(false);
        let progress = thread::scope(|scope| {
            scope.spawn(|| {
                // Three more lines of metrics are two or three more steps.
                while logged(&output) < lines + 3 && !ended.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_micros(200));
                }
                stop.store(true, Ordering::Relaxed);
            });
            let progress = workshop.run(&output, None, true, &stop);
            ended.store(true, Ordering::Relaxed);
            progress
        });
        match progress.expect("a training") {
            Progress::Finished(_) => break,
            Progress::Interrupted { stage, step } => interrupted.push((stage, step)),
        }
    }
    assert!(interrupted.len() >= 2, "it was only stopped at {interrupted:?}");
    assert!(interrupted.is_sorted(), "{interrupted:?}");
    // A stop adds a checkpoint; all else is the same.
    assert_same(&output, &expected, |name| !name.contains("checkpoints"));
}

/// Lines in the metrics of all stages.
fn logged(output: &Path) -> usize {
    PipelineStage::ALL
        .iter()
        .filter_map(|stage| fs::read(output.join(stage.name()).join("metrics.jsonl")).ok())
        .map(|bytes| bytes.iter().filter(|byte| **byte == b'\n').count())
        .sum()
}

#[test]
fn a_finished_run_is_whole() {
    let _turn = device_turn();
    let workshop = Workshop::new();
    let output = workshop.folder.path().join("output");
    workshop.finish(&output, false);
    for stage in PipelineStage::ALL {
        let folder = output.join(stage.name());
        for file in ["metrics.jsonl", "loss.svg", "samples.txt"] {
            assert!(folder.join(file).exists(), "{file} of {}", stage.name());
        }
        let lines = read_metrics(&folder.join("metrics.jsonl")).expect("metrics");
        let steps = |name: &str| -> Vec<u64> {
            let measured = lines.iter().filter(|line| line.values.contains_key(name));
            measured.map(|line| line.step).collect()
        };
        assert_eq!(steps("loss"), (1..=STEPS).collect::<Vec<_>>());
        assert_eq!(steps("validation_loss"), [5, STEPS]);
        assert!(lines.iter().all(|line| line.values.values().all(Option::is_some)));
        let samples = fs::read_to_string(folder.join("samples.txt")).expect("samples");
        let starts: Vec<&str> = samples.lines().map(|line| &line[..2]).collect();
        assert_eq!(starts, ["5\t", "8\t"]);
    }
    let model = LatentText::load(&output.join("model"), &workshop.device).expect("a model");
    let labels = model.config.labels.as_ref().expect("classes");
    assert_eq!(labels.names(), ["high", "low"]);
    let request = Request { count: 2, ..Request::default() };
    let texts = model.generate(&request, |_| std::ops::ControlFlow::Continue(())).expect("texts");
    assert_eq!(texts.len(), 2);
    // Finished stages are not run again.
    let before = files(&output);
    workshop.finish(&output, true);
    assert!(files(&output) == before);
}

#[test]
fn nothing_is_overwritten_without_resume() {
    let _turn = device_turn();
    let workshop = Workshop::new();
    let output = workshop.folder.path().join("output");
    workshop.finish(&output, false);
    let run = |only| workshop.run(&output, only, false, &AtomicBool::new(false));
    let refused = |only, named: &str| {
        let before = files(&output);
        let error = run(only).expect_err("it is refused");
        let TrainingError::OutputExists { path } = &error else { panic!("{error:?}") };
        assert_eq!(*path, output.join(named));
        assert!(error.to_string().contains("--resume"), "{error}");
        assert!(files(&output) == before);
    };
    refused(None, "language-model");
    for stage in PipelineStage::ALL {
        refused(Some(stage), stage.name());
    }
    // A model without the run that made it is not taken for the result of this one.
    fs::remove_dir_all(output.join("diffusion")).expect("the folder");
    refused(Some(PipelineStage::Diffusion), "model");
}

#[test]
fn other_settings_are_refused_on_resume() {
    let _turn = device_turn();
    let mut workshop = Workshop::new();
    let output = workshop.folder.path().join("output");
    let stop = AtomicBool::new(true);
    workshop.run(&output, None, false, &stop).expect("a start");
    let own = workshop.config.clone();
    let mut refused = |config: TrainingConfig, reason: &str| {
        workshop.config = config;
        let error = workshop.run(&output, None, true, &stop).expect_err(reason);
        assert!(matches!(error, TrainingError::Checkpoint { .. }), "{error:?}");
        assert!(error.to_string().contains(reason), "{error}");
    };
    refused(TrainingConfig { seed: 8, ..own.clone() }, "another seed");
    refused(TrainingConfig { max_tokens: 25, ..own.clone() }, "other parameters");
    let mut longer = own.clone();
    language_model(&mut longer).training.steps = 9;
    refused(longer, "other settings");
    let mut wider = own.clone();
    language_model(&mut wider).model.d_model = 32;
    refused(wider, "other parameters");
    // Settings of later stages may still change.
    let mut later = own;
    later.diffusion.training.steps = 9;
    workshop.config = later;
    workshop.run(&output, None, true, &stop).expect("it goes on");
}

#[test]
fn a_stage_names_the_result_that_it_lacks() {
    let _turn = device_turn();
    let workshop = Workshop::new();
    let output = workshop.folder.path().join("output");
    for (stage, needed) in [
        (PipelineStage::Autoencoder, "language-model/result"),
        (PipelineStage::Diffusion, "autoencoder/result"),
    ] {
        let run = workshop.run(&output, Some(stage), false, &AtomicBool::new(false));
        let error = run.expect_err("it can't run");
        let TrainingError::StageMissing { missing, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*missing, output.join(needed));
    }
}

#[test]
fn changed_texts_or_autoencoders_make_new_latents() {
    let _turn = device_turn();
    let mut workshop = Workshop::new();
    let output = workshop.folder.path().join("output");
    workshop.finish(&output, false);
    let cache = output.join("diffusion/latents-train.safetensors");
    let again = |workshop: &Workshop| {
        fs::remove_dir_all(output.join("model")).expect("the model");
        fs::remove_dir_all(output.join("diffusion/checkpoints")).expect("the checkpoints");
        workshop.finish(&output, true);
        fs::read(&cache).expect("the cache")
    };
    let first = fs::read(&cache).expect("the cache");
    let modified = || fs::metadata(&cache).and_then(|data| data.modified()).expect("a time");
    let time = modified();
    assert!(again(&workshop) == first);
    assert_eq!(modified(), time, "latents of the same texts are not written again");

    workshop.config.diffusion.data[0].limit = Some(20);
    let fewer = again(&workshop);
    assert!(fewer.len() < first.len());

    let weights = output.join("autoencoder/result/autoencoder.safetensors");
    let mut bytes = fs::read(&weights).expect("the weights");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&weights, bytes).expect("writing");
    let other = again(&workshop);
    assert!(other != fewer && other.len() == fewer.len());
}

#[test]
fn finished_stages_of_other_settings_are_refused_on_resume() {
    let _turn = device_turn();
    let mut workshop = Workshop::new();
    let output = workshop.folder.path().join("output");
    workshop.finish(&output, false);
    let own = workshop.config.clone();
    let before = files(&output);
    let resume = |workshop: &Workshop| workshop.run(&output, None, true, &AtomicBool::new(false));
    let mut longer = [own.clone(), own.clone(), own.clone()];
    language_model(&mut longer[0]).training.steps += 1;
    autoencoder(&mut longer[1]).training.steps += 1;
    longer[2].diffusion.training.steps += 1;
    let reseeded = TrainingConfig { seed: 8, ..own.clone() };
    let [first, second, third] = longer;
    for (config, stage, reason) in [
        (first, "language-model", "other settings"),
        (second, "autoencoder", "other settings"),
        (third, "diffusion", "other settings"),
        (reseeded, "language-model", "another seed"),
    ] {
        workshop.config = config;
        let error = resume(&workshop).expect_err(reason);
        let TrainingError::Checkpoint { path, problem } = &error else { panic!("{error:?}") };
        assert_eq!(*path, output.join(stage).join("settings.json"));
        assert!(problem.contains(reason), "{problem}");
        assert!(files(&output) == before);
    }
    // Results of versions that kept no settings are taken as they are.
    for stage in PipelineStage::ALL {
        fs::remove_file(output.join(stage.name()).join("settings.json")).expect("its settings");
    }
    resume(&workshop).expect("it is finished");
}

#[test]
fn encoder_states_do_not_take_the_place_of_a_half_trained_perceiver() {
    let _turn = device_turn();
    let mut workshop = Workshop::new();
    let output = workshop.folder.path().join("output");
    workshop.finish(&output, false);
    fs::remove_dir_all(output.join("model")).expect("the model");
    fs::remove_dir_all(output.join("diffusion")).expect("the diffusion");
    fs::remove_dir_all(output.join("autoencoder/result")).expect("the autoencoder");
    workshop.config.autoencoder =
        AutoencoderSection::EncoderStates { latents: latent_text_training::OwnStates::Encoder };
    let only = Some(PipelineStage::Autoencoder);
    let mut config = workshop.config.clone();
    config.diffusion.model = toml::from_str(
        "latent_dim = 16\nmax_latents = 24\ndim = 16\ndepth = 2\nhead_dim = 8\ndense_connections = 1",
    )
    .expect("a shape");
    workshop.config = config;
    let error = workshop.run(&output, only, true, &AtomicBool::new(false)).expect_err("refused");
    let TrainingError::Checkpoint { path, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*path, output.join("autoencoder/checkpoints"));
    assert!(!output.join("autoencoder/result").exists());
}

#[test]
fn labels_that_changed_their_names_are_refused_on_resume_but_for_older_checkpoints() {
    let _turn = device_turn();
    let workshop = Workshop::new();
    let output = workshop.folder.path().join("output");
    workshop.finish(&output, false);
    fs::remove_dir_all(output.join("model")).expect("the model");
    for name in ["train.jsonl", "valid.jsonl"] {
        let path = workshop.folder.path().join(name);
        let text = fs::read_to_string(&path).expect("texts");
        fs::write(&path, text.replace("\"high\"", "\"upper\"")).expect("a file");
    }
    let resume = || workshop.run(&output, None, true, &AtomicBool::new(false));
    let error = resume().expect_err("other labels");
    assert!(matches!(error, TrainingError::Checkpoint { .. }), "{error:?}");
    assert!(error.to_string().contains("other labels"), "{error}");

    let state = output.join("diffusion/checkpoints/step-000000008/state.json");
    let text = fs::read_to_string(&state).expect("a state");
    let mut value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let names = value.as_object_mut().expect("a table").remove("class_names");
    assert_eq!(names, Some(serde_json::json!(["high", "low"])));
    fs::write(&state, value.to_string()).expect("writing");
    resume().expect("as before there were names");
}

#[test]
fn labels_of_validation_and_given_folders_are_looked_at_before_any_training() {
    let _turn = device_turn();
    let mut workshop = Workshop::new();
    let output = workshop.folder.path().join("output");
    let fails = |workshop: &Workshop, named: &str| {
        let error = workshop.run(&output, None, false, &AtomicBool::new(false)).expect_err(named);
        assert!(error.to_string().contains(named), "{error}");
        assert!(!output.exists());
        error
    };
    let own = workshop.config.clone();
    workshop.config.language_model = Some(LanguageModelSection::Given { folder: "nowhere".into() });
    fails(&workshop, "language_model.folder");
    workshop.config = own.clone();
    workshop.config.diffusion.validation.clear();
    fails(&workshop, "diffusion.validation");
    workshop.config = own;
    let path = workshop.folder.path().join("valid.jsonl");
    let text = fs::read_to_string(&path).expect("texts").replace("\"high\"", "\"middle\"");
    fs::write(&path, text).expect("a file");
    let error = fails(&workshop, "validation data has a label");
    assert!(matches!(error, TrainingError::UnknownLabel(_)), "{error:?}");
}
