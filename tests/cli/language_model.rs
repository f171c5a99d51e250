use std::fs;
use std::path::PathBuf;

use assert_cmd::Command;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::support::{assert_mentions, example, refused, succeeded};

const MASKED: &str = "The Vaults is a <mask> near the river.";

/// Below the repository's root, where the shipped model is.
fn program(arguments: &[&str]) -> Command {
    let mut command = example("language_model");
    command.current_dir(PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()));
    command.args(arguments);
    command
}

fn written(arguments: &[&str]) -> String {
    succeeded(program(&["write"]).args(arguments).write_stdin("")).0
}

#[test]
fn the_shipped_model_fills_a_mask() {
    let text = written(&[MASKED]);
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with("The Vaults is a ") && text.contains("near the river."), "{text}");
    assert!(!text.contains('<'), "{text}");
}

#[test]
fn the_documentation_shows_what_is_written() {
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap());
    let page = fs::read_to_string(root.join("docs/language-models.md")).unwrap();
    let (_, page) = page.split_once("```text\n").unwrap();
    let (shown, _) = page.split_once("```").unwrap();
    assert_eq!(written(&[MASKED, "The Golden Palace serves <mask> food."]), shown);
}

#[test]
fn lines_of_stdin_give_the_same_as_arguments() {
    let other = "The Mill is a cheap <mask>.";
    let lines = format!("{MASKED}\n{other}\n{MASKED}");
    let (from_lines, _) = succeeded(program(&["write", "--batch-size", "2"]).write_stdin(lines));
    let one_by_one = written(&[MASKED]) + &written(&[other]) + &written(&[MASKED]);
    assert_eq!(from_lines, one_by_one);
    assert_eq!(written(&[MASKED, other, MASKED]), one_by_one);
    assert_eq!(written(&[]), "");
}

#[test]
fn a_text_is_streamed_as_it_is_written() {
    for settings in [&[][..], &["--sample", "--seed", "3"], &["--prefix", "It was"]] {
        let streamed = written(&[&[MASKED, MASKED, "--stream"], settings].concat());
        assert_eq!(streamed, written(&[&[MASKED, MASKED], settings].concat()));
    }
}

#[test]
fn a_beam_search_gives_its_best_texts_with_their_scores() {
    let settings = ["--beams", "4", "--returns", "3", "--scores", "--format", "jsonl"];
    let out = written(&[&[MASKED, "A pub."], &settings[..]].concat());
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sources: Vec<u64> = lines.iter().map(|line| line["source"].as_u64().unwrap()).collect();
    assert_eq!(sources, [0, 0, 0, 1, 1, 1]);
    for of_source in lines.chunks(3) {
        let scores: Vec<f64> =
            of_source.iter().map(|line| line["score"].as_f64().unwrap()).collect();
        assert!(scores.is_sorted_by(|a, b| a >= b) && scores[0] < 0.0, "{scores:?}");
        assert!(of_source[0]["text"] != of_source[1]["text"]);
    }
    let plain = written(&[&[MASKED], &settings[..5]].concat());
    let (score, text) = plain.lines().next().unwrap().split_once('\t').unwrap();
    assert!((score.parse::<f64>().unwrap() - lines[0]["score"].as_f64().unwrap()).abs() < 1e-3);
    assert_eq!(text, lines[0]["text"]);
}

#[test]
fn settings_change_the_text() {
    let drawn = |seed| written(&[MASKED, "--temperature", "2", "--returns", "2", "--seed", seed]);
    assert_eq!(drawn("1"), drawn("1"));
    assert_ne!(drawn("1"), drawn("2"));
    assert_eq!(written(&[MASKED, "--sample", "--top-k", "1"]), written(&[MASKED]));
    assert_eq!(written(&[MASKED, "--beams", "1"]), written(&[MASKED]));
    assert!(written(&[MASKED, "--prefix", "It was a"]).starts_with("It was a"));
    let short = written(&[MASKED, "--max-length", "6"]);
    assert!(short.split_whitespace().count() <= 6, "{short}");
    let long = written(&[MASKED, "--min-length", "40"]);
    assert!(long.len() > written(&[MASKED]).len(), "{long}");
    let forbidden = written(&[MASKED, "--bad-word", "river", "--bad-word", "Vaults"]);
    assert!(!forbidden.contains("river") && !forbidden.contains("Vaults"), "{forbidden}");
}

#[test]
fn states_are_written_into_a_file_that_did_not_exist() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("states.safetensors");
    let texts = ["A pub.", "The Vaults is a cheap pub near the river."];
    let mut encode = program(&["encode", texts[0], texts[1], "--output"]);
    let (out, _) = succeeded(encode.arg(&path));
    let bytes = fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (states, mask) = (file.tensor("states").unwrap(), file.tensor("mask").unwrap());
    let length = states.shape()[1];
    assert_eq!(states.shape(), [2, length, 256]);
    assert_eq!((states.dtype(), mask.dtype()), (Dtype::F32, Dtype::BOOL));
    assert_eq!(mask.shape(), [2, length]);
    assert!(mask.data()[length..].iter().all(|&real| real == 1));
    let real = mask.data()[..length].iter().filter(|&&real| real == 1).count();
    assert!(real < length && mask.data()[..real].iter().all(|&real| real == 1));
    assert_eq!(out, format!("states [2, {length}, 256], mask [2, {length}]\n"));

    let message = refused(program(&["encode", "Other.", "--output"]).arg(&path), 1);
    assert_mentions(&message, &["states.safetensors", "exists"]);
    assert_eq!(fs::read(&path).unwrap(), bytes);
    let other = folder.path().join("other.safetensors");
    let message = refused(program(&["encode", "--output"]).arg(&other).write_stdin(""), 1);
    assert_mentions(&message, &["no texts"]);
    assert!(!other.exists());
}

#[test]
fn the_model_is_described() {
    let (out, _) = succeeded(&mut program(&["inspect"]));
    assert_mentions(&out, &["BART", "4096 ids", "64 tokens", "mask 4", "greedy"]);
    let parameters = out.lines().find(|line| line.starts_with("parameters")).unwrap();
    let parameters: usize = parameters.split_whitespace().nth(1).unwrap().parse().unwrap();
    // 5.0 M, says the model's card; the file has them in f16.
    assert!((5_000_000..5_100_000).contains(&parameters), "{parameters}");
}

#[test]
fn settings_that_do_not_go_together_are_errors() {
    for (arguments, says) in [
        (&["--beams", "4", "--sample"][..], "--beams"),
        (&["--length-penalty", "2"], "need --beams"),
        (&["--returns", "2"], "returns"),
        (&["--beams", "2", "--returns", "3"], "returns"),
        (&["--beams", "2", "--stream"], "beam search"),
        (&["--sample", "--returns", "2", "--stream"], "--returns"),
        (&["--temperature", "0"], "temperature"),
        (&["--top-p", "1.5"], "top_p"),
        (&["--max-length", "65"], "64"),
        (&["--max-length", "8", "--min-length", "9"], "min_length"),
        (&["--source-tokens", "65"], "64"),
        (&["--source-tokens", "1"], "max_tokens"),
        (&["--batch-size", "0"], "--batch-size"),
        (&["--bad-word", " "], "--bad-word"),
        (&["--device", "abacus"], "abacus"),
    ] {
        let message = refused(program(&["write", MASKED]).args(arguments), 1);
        assert_mentions(&message, &[says]);
    }
    refused(program(&["write", MASKED, "--early-stopping", "sometimes"]).write_stdin(""), 2);
    refused(program(&["write", MASKED, "--stream", "--scores"]).write_stdin(""), 2);
    refused(program(&["translate", MASKED]).write_stdin(""), 2);
}

#[test]
fn a_model_that_is_not_there_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let message = refused(&mut program(&["inspect", "--model", path]), 1);
    assert_mentions(&message, &["config.json", "is missing"]);
    let absent = "models/there/is-none";
    let message = refused(&mut program(&["inspect", "--model", absent]), 1);
    assert_mentions(&message, &[absent]);
    if cfg!(not(feature = "hub")) {
        assert_mentions(&message, &["--features hub"]);
    }
}
