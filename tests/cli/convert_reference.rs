use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use flate2::read::GzDecoder;
use tempfile::TempDir;

use crate::support::{assert_mentions, example, files, refused, succeeded};

/// Copies of the runs that the tests of `latent-text-reference` have, unpacked.
fn runs() -> TempDir {
    // Read when the test runs: checkouts may share one target folder.
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap());
    let fixtures = root.join("crates/reference/tests/fixtures");
    let folder = tempfile::tempdir().unwrap();
    for name in ["bart", "roc", "qqp", "sst"] {
        unpack(&fixtures.join(name), &folder.path().join(name));
    }
    folder
}

fn unpack(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            unpack(&path, &target);
        } else if path.extension().is_some_and(|extension| extension == "gz") {
            let mut bytes = Vec::new();
            GzDecoder::new(fs::File::open(&path).unwrap()).read_to_end(&mut bytes).unwrap();
            fs::write(target.with_extension(""), bytes).unwrap();
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// Converts a run over BART.
fn convert(runs: &TempDir, run: &str, output: &str) -> Command {
    let mut command = example("convert_reference");
    command.current_dir(runs.path()).args(["--language-model", "bart", "--head-dim", "8"]);
    command.args(["--diffusion", &format!("{run}/diffusion"), "--output", output]);
    command
}

const AUTOENCODER: [&str; 2] = ["--autoencoder", "roc/autoencoder"];

fn generate(runs: &TempDir, model: &str) -> Command {
    let mut command = example("generate");
    command.current_dir(runs.path()).args(["--model", model, "--steps", "3"]);
    command
}

#[test]
fn a_converted_model_writes_texts() {
    let runs = runs();
    let (out, errors) = succeeded(convert(&runs, "roc", "model").args(AUTOENCODER));
    assert_eq!(out, "model: up to 5 x 8 latents; 250 steps of ddpm\n");
    for step in
        ["reading the denoiser", "reading the autoencoder", "writing model", "checking model"]
    {
        assert!(errors.lines().any(|line| line == step), "{errors}");
    }
    let (texts, _) = succeeded(generate(&runs, "model").args(["--count", "3"]));
    assert_eq!(texts.lines().count(), 3);
}

#[test]
fn a_converted_model_writes_texts_for_sources() {
    let runs = runs();
    let (out, errors) = succeeded(convert(&runs, "qqp", "model").args(AUTOENCODER));
    assert_mentions(&out, &["sources of up to 24 tokens"]);
    assert_mentions(&errors, &["reading the source encoder"]);
    let (texts, _) = succeeded(generate(&runs, "model").args(["--source", "Why?"]));
    assert_eq!(texts.lines().count(), 1);
    let last = ["--last", "--precision", "f16"];
    succeeded(convert(&runs, "qqp", "last").args(AUTOENCODER).args(last));
    let size = |model: &str| {
        fs::metadata(runs.path().join(model).join("denoiser.safetensors")).unwrap().len()
    };
    assert!(size("last") * 3 / 2 < size("model"), "{} and {}", size("last"), size("model"));
}

#[test]
fn a_converted_model_of_the_first_version_draws_lengths() {
    let runs = runs();
    let mut texts = fs::File::create(runs.path().join("train.txt")).unwrap();
    writeln!(texts, "The cat walked slowly.\nA garden and a river.").unwrap();
    let labels = ["--label", "negative", "--label", "positive"];
    let lengths = ["--lengths-from", "train.txt"];
    let (out, _) = succeeded(convert(&runs, "sst", "model").args(labels).args(lengths));
    assert_mentions(&out, &["up to 24 x 16 latents", "labels negative, positive", "ddpm_small"]);
    let (texts, _) =
        succeeded(generate(&runs, "model").args(["--count", "2", "--label", "positive"]));
    assert_eq!(texts.lines().count(), 2);

    let message = refused(convert(&runs, "sst", "other").args(labels), 1);
    assert_mentions(&message, &["sst/diffusion/model.pt", "give the training texts"]);
    let absent = ["--lengths-from", "absent.txt"];
    assert_mentions(&refused(convert(&runs, "sst", "other").args(absent), 1), &["absent.txt"]);
}

#[test]
fn a_model_is_not_written_over() {
    let runs = runs();
    succeeded(convert(&runs, "roc", "model").args(AUTOENCODER));
    let before = files(&runs.path().join("model"));
    let message = refused(convert(&runs, "roc", "model").args(AUTOENCODER), 1);
    assert_mentions(&message, &["model holds a model already", "--output"]);
    assert_eq!(files(&runs.path().join("model")), before);
}

#[test]
fn what_is_wrong_is_told_and_nothing_is_written() {
    let runs = runs();
    let message = refused(&mut convert(&runs, "roc", "model"), 1);
    assert_mentions(&message, &["second version", "give the autoencoder's run folder"]);
    let message = refused(convert(&runs, "absent", "model").args(AUTOENCODER), 1);
    assert_mentions(&message, &["absent/diffusion/args.json"]);
    let message =
        refused(convert(&runs, "roc", "model").args(AUTOENCODER).args(["--label", "x"]), 1);
    assert_mentions(&message, &["has no use for labels"]);
    assert!(!runs.path().join("model").exists());
}
