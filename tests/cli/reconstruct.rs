use std::path::Path;

use assert_cmd::Command;

use crate::support::{assert_mentions, conditional_model, example, files, refused, succeeded};

fn reconstruct(model: &Path) -> Command {
    let mut command = example("reconstruct");
    command.arg("--model").arg(model);
    command
}

#[test]
fn every_line_gives_one_line() {
    let model = conditional_model();
    let lines = "The Mill is a cafe.\n\n  \n\u{1F37A} \u{e9}\nno line end";
    let (together, _) = succeeded(reconstruct(model.path()).write_stdin(lines));
    assert_eq!(together.lines().count(), 5, "{together:?}");
    let pairs = ["--batch-size", "2"];
    let (in_pairs, _) = succeeded(reconstruct(model.path()).args(pairs).write_stdin(lines));
    assert_eq!(in_pairs, together);
}

#[test]
fn a_line_longer_than_the_model_is_cut() {
    let model = conditional_model();
    let long = "The Vaults is a cheap pub near the river. ".repeat(1000);
    let (out, _) = succeeded(reconstruct(model.path()).write_stdin(long));
    assert_eq!(out.lines().count(), 1);
}

#[test]
fn nothing_gives_nothing() {
    let model = conditional_model();
    let (out, errors) = succeeded(reconstruct(model.path()).write_stdin(""));
    assert_eq!((out.as_str(), errors.as_str()), ("", ""));
}

#[test]
fn bytes_that_are_not_utf8_are_an_error_that_names_the_line() {
    let model = conditional_model();
    let bytes = b"The Mill is a cafe.\n\xff\xfe\n".to_vec();
    let message = refused(reconstruct(model.path()).write_stdin(bytes), 1);
    assert_mentions(&message, &["line 2", "UTF-8"]);
}

#[test]
fn wrong_settings_are_errors() {
    let model = conditional_model();
    let arguments = ["--batch-size", "0"];
    let message = refused(reconstruct(model.path()).args(arguments).write_stdin("A pub.\n"), 1);
    assert_mentions(&message, &["--batch-size"]);
    let arguments = ["--device", "abacus"];
    let message = refused(reconstruct(model.path()).args(arguments).write_stdin("A pub.\n"), 1);
    assert_mentions(&message, &["`abacus`"]);
    let arguments = ["--batch-size", "18446744073709551615"];
    succeeded(reconstruct(model.path()).args(arguments).write_stdin("A pub.\n"));
    refused(reconstruct(model.path()).arg("--count=3").write_stdin("A pub.\n"), 2);
}

#[test]
fn a_missing_model_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent");
    let message = refused(reconstruct(&absent).write_stdin("A pub.\n"), 1);
    assert_mentions(&message, &["absent", "is missing"]);
    assert!(files(folder.path()).is_empty());
}
