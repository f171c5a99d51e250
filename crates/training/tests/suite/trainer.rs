use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use burn::tensor::Device;
use latent_text_testing::device_turn;
use latent_text_training::checkpoint::CheckpointFolder;
use latent_text_training::optimisation::{AdamWConfig, Decay, EmaConfig, LearningRateConfig};
use latent_text_training::report::{MetricsLine, read_metrics};
use latent_text_training::{Outcome, Precision, Run, TrainerConfig, TrainingError, train};

use crate::common::{
    Pairs, Place, Regression, finish, largest_difference, layer, parameters, start, values,
};

fn config(steps: u64) -> TrainerConfig {
    TrainerConfig {
        steps,
        learning_rate: LearningRateConfig { peak: 0.05, warmup_steps: 2, decay: Decay::Cosine },
        log_every: 1,
        validate_every: 1000,
        checkpoint_every: 1000,
        samples: 1,
        ..TrainerConfig::default()
    }
}

fn stage(device: &Device) -> Regression {
    Regression::new(device, |index| Pairs::random(index * 4, 4))
}

fn metrics(folder: &Path) -> Vec<MetricsLine> {
    read_metrics(&folder.join("metrics.jsonl")).expect("metrics")
}

#[test]
fn a_training_that_is_stopped_again_and_again_ends_the_same() {
    let _turn = device_turn();
    let device = Device::default();
    let config = TrainerConfig {
        accumulation: 2,
        ema: Some(EmaConfig { update_after: 3, ..EmaConfig::default() }),
        validate_every: 4,
        checkpoint_every: 5,
        ..config(20)
    };
    let regular = tempfile::tempdir().expect("a folder");
    let stop = Arc::new(AtomicBool::new(false));
    let place = Place { folder: regular.path(), device: &device, stop: &stop };
    let stage = Regression { dropout: 0.3, ..stage(&device) };
    let expected = finish(&stage, &start(), &config, &place.run()).expect("a training");

    let broken = tempfile::tempdir().expect("a folder");
    let place = Place { folder: broken.path(), device: &device, stop: &stop };
    // In the first and the second batch of a step, right before and after checkpoints and validations.
    for (batch, step) in [(0, 1), (9, 5), (10, 6), (15, 8), (38, 20)] {
        let flag = stop.clone();
        let stopping = Regression {
            dropout: 0.3,
            hook: Box::new(move |index, loss| {
                flag.fetch_or(index == batch, Ordering::Relaxed);
                loss
            }),
            ..self::stage(&device)
        };
        let outcome = train(&stopping, layer(&start(), &device), &config, &place.run());
        stop.store(false, Ordering::Relaxed);
        match outcome.expect("a training") {
            Outcome::Interrupted { step: at, checkpoint } => {
                assert_eq!(at, step);
                assert!(checkpoint.ends_with(format!("step-{step:09}")) && checkpoint.exists());
            }
            // Stopped in its last step it is done anyway.
            Outcome::Finished(_) => assert_eq!(step, 20),
        }
    }
    let resumed = finish(&stage, &[0.0; 16], &config, &place.run()).expect("a training");
    assert_eq!(parameters(&resumed), parameters(&expected));
    for file in ["metrics.jsonl", "samples.txt"] {
        let read = |folder: &Path| fs::read_to_string(folder.join(file)).expect("the file");
        assert!(read(broken.path()) == read(regular.path()), "{file}");
    }
    let steps: Vec<u64> = metrics(broken.path())
        .iter()
        .filter(|line| line.values.contains_key("loss"))
        .map(|line| line.step)
        .collect();
    assert_eq!(steps, (1..=20).collect::<Vec<_>>());
}

#[test]
fn a_training_that_was_killed_goes_on_from_its_last_checkpoint() {
    let _turn = device_turn();
    let device = Device::default();
    let config = TrainerConfig {
        validate_every: 2,
        checkpoint_every: 3,
        keep_checkpoints: 100,
        ..config(10)
    };
    let folder = tempfile::tempdir().expect("a folder");
    let stop = AtomicBool::new(false);
    let place = Place { folder: folder.path(), device: &device, stop: &stop };
    let stage = Regression { dropout: 0.3, ..stage(&device) };
    let expected = finish(&stage, &start(), &config, &place.run()).expect("a training");
    let read = |file: &str| fs::read_to_string(folder.path().join(file)).expect("the file");
    let files = ["metrics.jsonl", "samples.txt", "loss.svg"];
    let before = files.map(read);
    for last in [9, 6, 3] {
        for later in (last + 1..=10).filter(|step| step % 3 == 0 || *step == 10) {
            fs::remove_dir_all(folder.path().join(format!("checkpoints/step-{later:09}")))
                .expect("a later checkpoint");
        }
        let resumed = finish(&stage, &[0.0; 16], &config, &place.run()).expect("a training");
        assert_eq!(parameters(&resumed), parameters(&expected), "from step {last}");
        assert!(files.map(read) == before, "from step {last}");
    }
}

#[test]
fn checkpoints_of_other_trainings_are_refused() {
    let _turn = device_turn();
    let device = Device::default();
    let folder = tempfile::tempdir().expect("a folder");
    let stop = AtomicBool::new(false);
    let place = Place { folder: folder.path(), device: &device, stop: &stop };
    let stage = stage(&device);
    finish(&stage, &start(), &config(3), &place.run()).expect("a training");
    let refused = |run: &Run<'_>, config: &TrainerConfig, reason: &str| {
        let error = finish(&stage, &start(), config, run).expect_err("it is refused");
        let TrainingError::Checkpoint { path, problem } = &error else {
            panic!("another error: {error:?}");
        };
        assert!(path.starts_with(folder.path()), "{}", path.display());
        assert!(problem.contains(reason), "{problem}");
    };
    refused(&Run { seed: 6, ..place.run() }, &config(3), "another seed");
    let other = Run { fingerprint: "others".to_string(), ..place.run() };
    refused(&other, &config(3), "other settings");
    let averaging = TrainerConfig { ema: Some(EmaConfig::default()), ..config(3) };
    refused(&place.run(), &averaging, "running average");

    let state = folder.path().join("checkpoints/step-000000003/state.json");
    let text = fs::read_to_string(&state).expect("the file");
    fs::write(&state, text.replace("\"regression\"", "\"another\"")).expect("writing");
    refused(&place.run(), &config(3), "another stage");
    fs::write(&state, text.replace("\"weight\"", "\"weights\"")).expect("writing");
    refused(&place.run(), &config(3), "other parameters");
    fs::write(&state, text).expect("writing");
    finish(&stage, &start(), &config(3), &place.run()).expect("its own training goes on");
}

#[test]
fn a_training_stops_before_it_saves_what_is_no_number() {
    let _turn = device_turn();
    let device = Device::default();
    for (broken, log_every, validate_every) in
        [(f32::NAN, 100, 100), (f32::INFINITY, 100, 5), (f32::NAN, 5, 5)]
    {
        let folder = tempfile::tempdir().expect("a folder");
        let stop = AtomicBool::new(false);
        let place = Place { folder: folder.path(), device: &device, stop: &stop };
        let config = TrainerConfig { checkpoint_every: 2, log_every, validate_every, ..config(12) };
        let failing = Regression {
            hook: Box::new(
                move |index, loss| if index == 4 { loss.mul_scalar(broken) } else { loss },
            ),
            ..stage(&device)
        };
        let error = finish(&failing, &start(), &config, &place.run()).expect_err("it ends");
        let TrainingError::NotFinite { stage: name, loss, from, to } = &error else {
            panic!("another error: {error:?}");
        };
        assert_eq!(name, "regression");
        assert!(!loss.is_finite());
        assert!(*from <= 4 && (5..=6).contains(to), "{from} to {to}");
        let checkpoints = folder.path().join("checkpoints");
        let newest = CheckpointFolder::new(&checkpoints, 2)
            .load_newest(&device)
            .expect("an intact checkpoint")
            .expect("a checkpoint");
        assert_eq!(newest.state.step, 4);
        assert!(values(&newest.parameters).iter().all(|value| value.is_finite()));

        // Without the fault it goes on as if nothing had been.
        let resumed = finish(&stage(&device), &start(), &config, &place.run()).expect("a training");
        let regular = tempfile::tempdir().expect("a folder");
        let place = Place { folder: regular.path(), device: &device, stop: &stop };
        let expected = finish(&stage(&device), &start(), &config, &place.run()).expect("one");
        assert_eq!(parameters(&resumed), parameters(&expected));
    }
}

#[test]
fn a_stop_does_not_save_what_is_no_number() {
    let _turn = device_turn();
    let device = Device::default();
    let folder = tempfile::tempdir().expect("a folder");
    let stop = Arc::new(AtomicBool::new(false));
    let place = Place { folder: folder.path(), device: &device, stop: &stop };
    let flag = stop.clone();
    let failing = Regression {
        hook: Box::new(move |index, loss| {
            flag.fetch_or(index == 4, Ordering::Relaxed);
            if index == 4 { loss * f32::NAN } else { loss }
        }),
        ..stage(&device)
    };
    let config = TrainerConfig { checkpoint_every: 3, log_every: 100, ..config(12) };
    let error = finish(&failing, &start(), &config, &place.run()).expect_err("it ends");
    assert!(matches!(error, TrainingError::NotFinite { .. }), "{error:?}");
    assert!(!folder.path().join("checkpoints/step-000000005").exists());
}

#[test]
fn accumulated_batches_are_one_large_batch() {
    let _turn = device_turn();
    let device = Device::default();
    let trained = |rows: u64, accumulation: u64| {
        let folder = tempfile::tempdir().expect("a folder");
        let stop = AtomicBool::new(false);
        let place = Place { folder: folder.path(), device: &device, stop: &stop };
        let stage = Regression::new(&device, move |index| Pairs::random(index * rows, rows));
        let config = TrainerConfig { accumulation, ..config(25) };
        let model = finish(&stage, &start(), &config, &place.run()).expect("a training");
        let losses: Vec<f64> = metrics(folder.path())
            .iter()
            .filter_map(|line| line.values.get("loss").copied().flatten())
            .collect();
        (parameters(&model), losses)
    };
    let (whole, losses) = trained(8, 1);
    for accumulation in [2, 4] {
        let (pieces, piecewise_losses) = trained(8 / accumulation, accumulation);
        let difference = largest_difference(&whole, &pieces);
        assert!(difference < 1e-6, "{accumulation} pieces: {difference}");
        for (whole, pieces) in losses.iter().zip(piecewise_losses) {
            assert!((whole - pieces).abs() < 1e-6, "{whole} and {pieces}");
        }
    }
    let difference = largest_difference(&whole, &trained(4, 1).0);
    assert!(difference > 1e-2, "half the batch is another training, but differs by {difference}");
}

#[test]
fn bf16_trains_by_steps_smaller_than_its_resolution() {
    let _turn = device_turn();
    let device = Device::default();
    let folder = tempfile::tempdir().expect("a folder");
    let stop = AtomicBool::new(false);
    let place = Place { folder: folder.path(), device: &device, stop: &stop };
    // Parameters from 1 to 2, where bf16 has steps of 2^-7, each moved by at most 2e-4 a step.
    let from: Vec<f32> = start().iter().map(|value| 1.5 + 0.4 * value).collect();
    let rate = 2e-4;
    let steps = 400;
    let config = TrainerConfig {
        learning_rate: LearningRateConfig { peak: rate, warmup_steps: 0, decay: Decay::Constant },
        optimizer: AdamWConfig { weight_decay: 0.0, ..AdamWConfig::default() },
        checkpoint_every: 1,
        keep_checkpoints: 1000,
        ..config(steps)
    };
    let stage = Regression::new(&device, |_| Pairs::random(0, 8));
    let run = Run { precision: Precision::Bf16, ..place.run() };
    let model = finish(&stage, &from, &config, &run).expect("a training");
    let lines = metrics(folder.path());
    let loss = |line: &MetricsLine| line.values["loss"].expect("a finite loss");
    let (first, last) = (loss(&lines[0]), loss(&lines[lines.len() - 2]));
    assert!(last < 0.9 * first, "the loss went from {first} to {last}");
    let moved = largest_difference(&parameters(&model), &from);
    assert!(moved > 2.0f32.powi(-7), "parameters moved by {moved}");
    let at_step = |step: u64| {
        let only = tempfile::tempdir().expect("a folder");
        let name = format!("step-{step:09}");
        fs::rename(folder.path().join("checkpoints").join(&name), only.path().join(&name))
            .expect("the checkpoint");
        let checkpoint = CheckpointFolder::new(only.path(), 1).load_newest(&device);
        values(&checkpoint.expect("whole").expect("a checkpoint").parameters)
    };
    let step = largest_difference(&at_step(100), &at_step(101));
    assert!(step > 0.0 && step < 2.0f32.powi(-8), "one step moved by {step}");
}

#[test]
fn the_loss_function_sees_each_batch_once_and_in_order() {
    let _turn = device_turn();
    let device = Device::default();
    let folder = tempfile::tempdir().expect("a folder");
    let stop = AtomicBool::new(false);
    let place = Place { folder: folder.path(), device: &device, stop: &stop };
    let expected = Arc::new(AtomicU64::new(0));
    let seen = expected.clone();
    let watching = Regression {
        hook: Box::new(move |index, loss| {
            assert_eq!(index, seen.fetch_add(1, Ordering::Relaxed));
            loss
        }),
        ..stage(&device)
    };
    let config = TrainerConfig { accumulation: 3, ..config(7) };
    finish(&watching, &start(), &config, &place.run()).expect("a training");
    assert_eq!(expected.load(Ordering::Relaxed), 21);
}
