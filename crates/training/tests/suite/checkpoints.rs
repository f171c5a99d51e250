use std::fs;
use std::path::{Path, PathBuf};

use burn::nn::LinearConfig;
use burn::tensor::Device;
use latent_text_training::TrainingError;
use latent_text_training::checkpoint::{Checkpoint, CheckpointFolder, CheckpointState};
use latent_text_training::optimisation::{AdamWSnapshot, FlatLayout};

use crate::common::{INPUTS, OUTPUTS, values, vector};

const LEN: usize = INPUTS * OUTPUTS + OUTPUTS;

fn checkpoint(step: u64, device: &Device) -> Checkpoint {
    let filled = |value: f32| vector(&[value + step as f32; LEN], device);
    Checkpoint {
        state: CheckpointState {
            stage: "test".to_string(),
            step,
            batches: 2 * step,
            seed: u64::MAX,
            optimizer_time: step as usize,
            average_updates: step,
            fingerprint: "settings".to_string(),
            class_names: None,
            layout: FlatLayout::of(&LinearConfig::new(INPUTS, OUTPUTS).init(device)),
        },
        parameters: filled(0.1),
        average: Some(filled(0.2)),
        optimizer: Some(AdamWSnapshot {
            time: step as usize,
            moment_1: filled(0.3),
            moment_2: filled(0.4),
        }),
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a plain name"))
        .collect();
    names.sort();
    names
}

#[test]
fn a_checkpoint_comes_back_whole() {
    let device = Device::default();
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoints = CheckpointFolder::new(folder.path().join("checkpoints"), 2);
    assert!(checkpoints.load_newest(&device).expect("no folder is no error").is_none());
    checkpoints.save(checkpoint(7, &device)).expect("saving");
    let (saved, loaded) = (
        checkpoint(7, &device),
        checkpoints.load_newest(&device).expect("loading").expect("a checkpoint"),
    );
    assert_eq!(loaded.state, saved.state);
    assert_eq!(values(&loaded.parameters), values(&saved.parameters));
    assert_eq!(values(&loaded.average.expect("one")), values(&saved.average.expect("one")));
    let (loaded, saved) = (loaded.optimizer.expect("one"), saved.optimizer.expect("one"));
    assert_eq!(loaded.time, 7);
    assert_eq!(values(&loaded.moment_1), values(&saved.moment_1));
    assert_eq!(values(&loaded.moment_2), values(&saved.moment_2));
}

#[test]
fn a_checkpoint_before_the_first_step_has_no_history() {
    let device = Device::default();
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoints = CheckpointFolder::new(folder.path(), 2);
    let first = Checkpoint { average: None, optimizer: None, ..checkpoint(0, &device) };
    checkpoints.save(first).expect("saving");
    let loaded = checkpoints.load_newest(&device).expect("loading").expect("a checkpoint");
    assert!(loaded.average.is_none() && loaded.optimizer.is_none());
}

#[test]
fn the_newest_checkpoints_are_kept() {
    let device = Device::default();
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoints = CheckpointFolder::new(folder.path(), 2);
    // 9 and 10 sort by number, not by letter.
    for step in [8, 9, 10] {
        let path = checkpoints.save(checkpoint(step, &device)).expect("saving");
        assert!(path.exists());
    }
    assert_eq!(names(folder.path()), ["step-000000009", "step-000000010"]);
    let newest = checkpoints.load_newest(&device).expect("loading").expect("a checkpoint");
    assert_eq!(newest.state.step, 10);
    // Writing the same step once more replaces it.
    checkpoints.save(checkpoint(10, &device)).expect("saving");
    assert_eq!(names(folder.path()), ["step-000000009", "step-000000010"]);
    let none_kept = CheckpointFolder::new(folder.path(), 0);
    none_kept.save(checkpoint(11, &device)).expect("saving");
    assert_eq!(names(folder.path()), ["step-000000011"], "at least one is kept");
}

#[test]
fn half_written_checkpoints_are_passed_over_and_replaced() {
    let device = Device::default();
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoints = CheckpointFolder::new(folder.path(), 3);
    checkpoints.save(checkpoint(1, &device)).expect("saving");
    let left_over = folder.path().join("step-000000002.tmp");
    fs::create_dir(&left_over).expect("a folder");
    fs::write(left_over.join("state.json"), "{").expect("a file");
    fs::write(left_over.join("junk"), "junk").expect("a file");
    let newest = checkpoints.load_newest(&device).expect("loading").expect("a checkpoint");
    assert_eq!(newest.state.step, 1);
    let path = checkpoints.save(checkpoint(2, &device)).expect("saving");
    assert_eq!(names(folder.path()), ["step-000000001", "step-000000002"]);
    assert_eq!(names(&path), ["state.json", "state.safetensors"]);
    let newest = checkpoints.load_newest(&device).expect("loading").expect("a checkpoint");
    assert_eq!(newest.state.step, 2);
}

/// The folder that the error about the newest checkpoint names.
fn refused(damage: impl FnOnce(&Path)) -> (TrainingError, PathBuf) {
    let device = Device::default();
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoints = CheckpointFolder::new(folder.path(), 2);
    let path = checkpoints.save(checkpoint(3, &device)).expect("saving");
    damage(&path);
    let error = checkpoints.load_newest(&device).err().expect("a damaged checkpoint is refused");
    (error, path)
}

fn assert_names_folder(damage: impl FnOnce(&Path), detail: &str) {
    let (error, folder) = refused(damage);
    let TrainingError::Checkpoint { path, .. } = &error else {
        panic!("another error for {detail}: {error:?}");
    };
    assert_eq!(*path, folder);
    let message = error.to_string();
    assert!(message.contains(folder.to_str().expect("a plain path")), "{message}");
    assert!(message.contains(detail), "{message}");
    assert!(message.contains("remove that folder"), "{message}");
}

#[test]
fn damaged_checkpoints_are_refused_by_name() {
    let truncate = |path: PathBuf, keep: usize| {
        let bytes = fs::read(&path).expect("the file");
        fs::write(path, &bytes[..keep.min(bytes.len() - 1)]).expect("writing");
    };
    let state = |folder: &Path| folder.join("state.json");
    let tensors = |folder: &Path| folder.join("state.safetensors");
    assert_names_folder(|folder| truncate(state(folder), 40), "state.json");
    assert_names_folder(
        |folder| fs::write(state(folder), [0xff, 0xfe]).expect("a file"),
        "state.json",
    );
    assert_names_folder(|folder| fs::remove_file(state(folder)).expect("a file"), "state.json");
    for keep in [0, 4, 100, usize::MAX] {
        assert_names_folder(|folder| truncate(tensors(folder), keep), "state.safetensors");
    }
    assert_names_folder(
        |folder| fs::remove_file(tensors(folder)).expect("a file"),
        "state.safetensors",
    );
    assert_names_folder(
        |folder| {
            let text = fs::read_to_string(state(folder)).expect("the file");
            fs::write(state(folder), text.replacen("\"step\"", "\"stop\"", 1)).expect("writing");
        },
        "unknown field `stop`",
    );
}

#[test]
fn tensors_of_another_length_are_refused() {
    let device = Device::default();
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoints = CheckpointFolder::new(folder.path(), 2);
    let parameters = vector(&[1.0; LEN - 1], &device);
    checkpoints.save(Checkpoint { parameters, ..checkpoint(1, &device) }).expect("saving");
    let error = checkpoints.load_newest(&device).err().expect("it is refused");
    assert!(error.to_string().contains("`parameters` has 15 numbers"), "{error}");
}
