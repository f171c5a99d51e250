use std::fs;
use std::path::Path;

use assert_cmd::Command;
use serde_json::{Value, json};

use crate::support::{
    LABELS, assert_mentions, conditional_model, encoder_space_model, example, files, refused,
    saved_model, source_model, succeeded, unconditional_model,
};

const WEIGHTS: [&str; 3] =
    ["denoiser.safetensors", "autoencoder.safetensors", "language_model/model.safetensors"];

fn generate(model: &Path) -> Command {
    let mut command = example("generate");
    command.arg("--model").arg(model);
    command
}

/// Refuses to load `model`, changes nothing in it, and says why.
#[track_caller]
fn refuses_to_load(model: &Path) -> String {
    let before = files(model);
    let message = refused(&mut generate(model), 1);
    assert_eq!(files(model), before);
    message
}

#[test]
fn texts_are_lines() {
    let model = conditional_model();
    let (texts, progress) = succeeded(generate(model.path()).args(["--count", "5"]));
    assert_eq!(texts.lines().count(), 5, "{texts:?}");
    assert_eq!(progress, "", "nothing is written to stderr unless it is a terminal");
}

#[test]
fn the_same_seed_gives_the_same_texts_whatever_the_count() {
    let model = conditional_model();
    let (five, _) = succeeded(generate(model.path()).args(["--count", "5", "--seed", "3"]));
    let (two, _) = succeeded(generate(model.path()).args(["--count", "2", "--seed", "3"]));
    assert_eq!(two.lines().collect::<Vec<_>>(), five.lines().take(2).collect::<Vec<_>>());
}

#[test]
fn the_networks_can_compute_in_bf16() {
    let model = conditional_model();
    let texts = |precision| {
        let arguments = ["--count", "3", "--precision", precision];
        succeeded(generate(model.path()).args(arguments)).0
    };
    assert_eq!(texts("bf16").lines().count(), 3);
    assert_eq!(texts("bf16"), texts("bf16"));
    assert_eq!(texts("f32"), succeeded(generate(model.path()).args(["--count", "3"])).0);
    let message = refused(generate(model.path()).args(["--precision", "f8"]), 2);
    assert_mentions(&message, &["f32", "bf16"]);
}

#[test]
fn jsonl_says_where_a_text_comes_from() {
    let model = conditional_model();
    let arguments = ["--count", "3", "--seed", "7", "--format", "jsonl"];
    let labels = ["--label", "cafe", "--label", "pub"];
    let (out, _) = succeeded(generate(model.path()).args(arguments).args(labels));
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    for (index, (line, label)) in lines.iter().zip(["cafe", "pub", "cafe"]).enumerate() {
        let text = line["text"].as_str().unwrap();
        assert_eq!(
            *line,
            json!({"index": index, "text": text, "label": label, "seed": 7}),
            "there are other fields"
        );
    }
    let (out, _) = succeeded(generate(model.path()).args(["--count", "1", "--format", "jsonl"]));
    let line: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(line["label"], Value::Null);
}

#[test]
fn steps_are_shown_on_stderr() {
    let model = conditional_model();
    let arguments = ["--count", "2", "--steps", "20", "--show-steps"];
    let (texts, steps) = succeeded(generate(model.path()).args(arguments));
    assert_eq!(texts.lines().count(), 2);
    let shown: Vec<&str> = steps.lines().collect();
    assert!((8..=12).contains(&shown.len()), "{steps}");
    assert_mentions(shown[0], &["1/20"]);
    let last = shown[shown.len() - 1];
    let text = last.split_once("20/20  ").unwrap().1;
    assert_eq!(text.trim_end(), texts.lines().next().unwrap().trim_end());
}

#[test]
fn no_texts_are_no_lines() {
    let model = conditional_model();
    let (texts, _) = succeeded(generate(model.path()).args(["--count", "0"]));
    assert_eq!(texts, "");
}

#[test]
fn both_samplers_can_be_chosen() {
    let model = unconditional_model();
    for sampler in ["ddpm", "ddim"] {
        let arguments = ["--count", "1", "--steps", "1", "--sampler", sampler];
        let (texts, _) = succeeded(generate(model.path()).args(arguments));
        assert_eq!(texts.lines().count(), 1);
    }
}

#[test]
fn a_missing_model_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let message = refused(&mut generate(&folder.path().join("absent")), 1);
    assert_mentions(&message, &["absent", "is missing"]);
    assert!(files(folder.path()).is_empty());

    let message = refused(example("generate").current_dir(folder.path()), 1);
    assert_mentions(&message, &["models/e2e-small"]);
    assert_mentions(&refuses_to_load(folder.path()), &["config.json is missing"]);

    let file = folder.path().join("file");
    fs::write(&file, "not a folder").unwrap();
    assert_mentions(&refused(&mut generate(&file), 1), &["is not a model folder"]);
}

#[test]
fn a_half_written_model_is_an_error() {
    // These repeat what config.json says, for `transformers`.
    let spare = ["generation_config.json", "special_tokens_map.json", "tokenizer_config.json"]
        .map(|file| Path::new("language_model").join(file));
    let model = conditional_model();
    let (texts, _) = succeeded(&mut generate(model.path()));
    let parts = files(model.path());
    assert_eq!(parts.len(), 10, "{:?}", parts.keys());
    for (file, content) in parts {
        let path = model.path().join(&file);
        fs::remove_file(&path).unwrap();
        if spare.contains(&file) {
            assert_eq!(succeeded(&mut generate(model.path())).0, texts, "without {file:?}");
        } else {
            let name = file.file_name().unwrap().to_str().unwrap();
            assert_mentions(&refuses_to_load(model.path()), &[name]);
        }
        fs::write(path, content).unwrap();
    }
}

#[test]
fn truncated_weights_are_an_error() {
    let model = conditional_model();
    for file in WEIGHTS {
        let path = model.path().join(file);
        let whole = fs::read(&path).unwrap();
        for length in [0, 4, 100, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            assert_mentions(&refuses_to_load(model.path()), &[file, "not a whole safetensors"]);
        }
        let mut long_header = whole.clone();
        long_header[..8].fill(0xff);
        fs::write(&path, long_header).unwrap();
        assert_mentions(&refuses_to_load(model.path()), &[file, "not a whole safetensors"]);
        fs::write(path, whole).unwrap();
    }
}

#[test]
fn mis_shaped_weights_are_an_error() {
    let model = conditional_model();
    let wider = saved_model(None, 24);
    let denoiser = "denoiser.safetensors";
    fs::copy(wider.path().join(denoiser), model.path().join(denoiser)).unwrap();
    let message = refuses_to_load(model.path());
    assert_mentions(
        &message,
        &[denoiser, "input_projection.weight has shape [24, 16]", "[16, 16]"],
    );

    let model = conditional_model();
    let other = model.path().join("autoencoder.safetensors");
    fs::copy(model.path().join(denoiser), other).unwrap();
    assert_mentions(&refuses_to_load(model.path()), &["autoencoder.safetensors", "does not fit"]);
}

#[test]
fn weights_of_another_type_are_an_error() {
    let model = conditional_model();
    let path = model.path().join(WEIGHTS[0]);
    let bytes = fs::read(&path).unwrap();
    let text = String::from_utf8_lossy(&bytes[8..]).into_owned();
    let header = text.split_once("\"F32\"").expect("weights are f32").0.len() + 8;
    let mut changed = bytes;
    changed[header..header + 5].copy_from_slice(b"\"I32\"");
    fs::write(path, changed).unwrap();
    assert_mentions(&refuses_to_load(model.path()), &[WEIGHTS[0]]);
}

#[test]
fn a_config_that_makes_no_sense_is_an_error() {
    let model = conditional_model();
    let path = model.path().join("config.json");
    let whole = fs::read_to_string(&path).unwrap();
    let with = |key: &str, value: Value| {
        let mut config: Value = serde_json::from_str(&whole).unwrap();
        config[key] = value;
        config.to_string()
    };
    for (text, expected) in [
        (with("format_version", json!(2)), "has format version 2"),
        (with("format_version", json!("one")), "config.json"),
        (with("sampler", json!("ddpm")), "unknown field `sampler`"),
        (with("statistics", json!({"mean": [0.0], "scale": 1.0, "count": 1})), "statistics"),
        (whole[..whole.len() / 2].to_string(), "config.json"),
        (String::new(), "config.json"),
        ("[]".to_string(), "config.json"),
        ("null".to_string(), "config.json"),
    ] {
        fs::write(&path, text).unwrap();
        assert_mentions(&refuses_to_load(model.path()), &[expected]);
    }
    fs::write(&path, [0xff, 0xfe, 0x00]).unwrap();
    assert_mentions(&refuses_to_load(model.path()), &["config.json", "UTF-8"]);
}

#[test]
fn damaged_parts_are_errors() {
    for (file, content) in [
        ("autoencoder.json", "{}"),
        ("autoencoder.json", "{\"latents\": 4, \"lattice\": 3}"),
        ("autoencoder.json", "{"),
        ("language_model/config.json", "{\"model_type\": \"t5\"}"),
        ("language_model/config.json", "{\"model_type\": \"bart\", \"vocab_size\": 0}"),
        ("language_model/tokenizer.json", "{}"),
        ("language_model/tokenizer.json", "{\"model\": {\"type\": \"BPE\"}}"),
        ("language_model/tokenizer_config.json", "{\"pad_token\": \"<nothing>\"}"),
        ("language_model/generation_config.json", "{\"forced_eos_token_id\": 100000}"),
    ] {
        let model = conditional_model();
        fs::write(model.path().join(file), content).unwrap();
        refuses_to_load(model.path());
    }
}

#[test]
fn an_unknown_label_is_an_error_that_lists_the_known_ones() {
    let model = conditional_model();
    let message = refused(generate(model.path()).args(["--label", "pub", "--label", "bar"]), 1);
    assert_mentions(&message, &["`bar`", "`pub`", "`cafe`"]);
    assert_eq!(LABELS, ["pub", "cafe"]);

    let model = unconditional_model();
    let message = refused(generate(model.path()).args(["--label", "pub"]), 1);
    assert_mentions(&message, &["no classes", "`pub`"]);
}

#[test]
fn an_unknown_device_is_an_error() {
    let model = conditional_model();
    let message = refused(generate(model.path()).args(["--device", "abacus"]), 1);
    assert_mentions(&message, &["`abacus`", "flex", "cuda"]);
    let message = refused(generate(model.path()).env("BURN_DEVICE", "abacus"), 1);
    assert_mentions(&message, &["`abacus`", "flex", "cuda"]);
    let chosen = ["--device", "flex", "--count", "1"];
    if cfg!(feature = "flex") {
        succeeded(generate(model.path()).env("BURN_DEVICE", "abacus").args(chosen));
    }
}

#[test]
fn a_device_that_is_not_compiled_in_is_an_error_that_names_the_feature() {
    let backends = [
        ("flex", cfg!(feature = "flex")),
        ("ndarray", cfg!(feature = "ndarray")),
        ("wgpu", cfg!(feature = "wgpu")),
        ("vulkan", cfg!(feature = "vulkan")),
        ("metal", cfg!(feature = "metal")),
        ("cuda", cfg!(feature = "cuda")),
    ];
    let model = conditional_model();
    for (name, _) in backends.into_iter().filter(|(_, compiled_in)| !compiled_in) {
        let message = refused(generate(model.path()).args(["--device", name]), 1);
        assert_mentions(&message, &[&format!("--features {name}")]);
    }
}

#[test]
fn numbers_out_of_range_are_errors() {
    let model = conditional_model();
    let huge = u64::MAX.to_string();
    for (option, value) in
        [("--steps", "0"), ("--steps", &huge), ("--batch-size", "0"), ("--batch-size", &huge)]
    {
        let message = refused(generate(model.path()).args([option, value]), 1);
        assert_mentions(&message, &[value, "must lie in"]);
    }
}

#[test]
fn wrong_usage_ends_with_code_2() {
    let model = conditional_model();
    for (option, value, expected) in [
        ("--sampler", "runge", "ddpm, ddpm_small, ddim"),
        ("--format", "xml", "jsonl"),
        ("--count", "many", "--count"),
        ("--count", "-1", "-1"),
        ("--steps", "1.5", "--steps"),
        ("--seed", "18446744073709551616", "--seed"),
        ("--colour", "red", "--colour"),
    ] {
        let message = refused(generate(model.path()).args([option, value]), 2);
        assert_mentions(&message, &[expected]);
    }
}

/// The JSON objects that a run prints.
#[track_caller]
fn objects(command: &mut Command) -> Vec<Value> {
    let (out, _) = succeeded(command.args(["--format", "jsonl"]));
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn texts_are_written_for_sources() {
    let model = source_model();
    let sources = ["--source", "The Mill", "--source", "pub"];
    let lines = objects(generate(model.path()).args(sources).args(["--count", "3"]));
    let found: Vec<&str> = lines.iter().map(|line| line["source"].as_str().unwrap()).collect();
    assert_eq!(found, ["The Mill", "pub", "The Mill"]);

    let file = model.path().join("sources.txt");
    fs::write(&file, "The Mill\npub\n").unwrap();
    let from_file = objects(generate(model.path()).arg("--sources").arg(&file));
    assert_eq!(from_file, lines[..2], "as many texts as sources");
    let (texts, _) = succeeded(generate(model.path()).args(sources));
    assert_eq!(texts.lines().count(), 2);
}

#[test]
fn sources_can_be_left_out_and_cut_off_if_told_so() {
    let model = source_model();
    let message = refused(&mut generate(model.path()), 1);
    assert_mentions(&message, &["has none", "without_source"]);
    let (texts, _) = succeeded(generate(model.path()).args(["--without-source", "--count", "2"]));
    assert_eq!(texts.lines().count(), 2);

    let long = "The Mill is a cheap cafe near the river. ".repeat(5);
    let message = refused(generate(model.path()).args(["--source", "pub", "--source", &long]), 1);
    assert_mentions(&message, &["source 1", "12 at most"]);
    succeeded(generate(model.path()).args(["--source", &long, "--truncate-sources"]));

    let message = refused(generate(conditional_model().path()).args(["--source", "pub"]), 1);
    assert_mentions(&message, &["reads no source texts"]);
}

#[test]
fn files_of_sources_must_hold_some() {
    let model = source_model();
    let file = model.path().join("sources.txt");
    let run = |file: &Path| refused(generate(model.path()).arg("--sources").arg(file), 1);
    assert_mentions(&run(&file), &["sources.txt"]);
    fs::write(&file, "").unwrap();
    assert_mentions(&run(&file), &["holds no sources"]);
    let both = ["--source", "pub", "--sources", "sources.txt"];
    assert_mentions(&refused(generate(model.path()).args(both), 2), &["--sources"]);
}

#[test]
fn candidates_are_chosen_from() {
    let model = conditional_model();
    let usual = objects(generate(model.path()).args(["--count", "2"]));
    assert!(usual.iter().all(|line| line.get("score").is_none()));
    let five = |choose: &[&str]| {
        let arguments = ["--count", "2", "--candidates", "5"];
        objects(generate(model.path()).args(arguments).args(choose))
    };
    assert_eq!(five(&["--choose", "first"]), usual);
    let by_default = five(&[]);
    assert_eq!(by_default, five(&["--choose", "mbr-rouge2"]));
    for lines in [by_default, five(&["--choose", "mbr-bleu"]), five(&["--choose", "likelihood"])] {
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().all(|line| line["score"].is_number()), "{lines:?}");
    }
    let message = refused(generate(model.path()).args(["--candidates", "0"]), 1);
    assert_mentions(&message, &["candidates is 0", "must lie in"]);
    let message = refused(generate(model.path()).args(["--choose", "best"]), 2);
    assert_mentions(&message, &["mbr-rouge2", "mbr-bleu", "likelihood", "coverage"]);
    let message =
        refused(generate(model.path()).args(["--candidates", "2", "--choose", "coverage"]), 1);
    assert_mentions(&message, &["coverage", "no sources"]);
}

#[test]
fn candidates_are_shown_on_demand() {
    let model = conditional_model();
    let arguments = ["--count", "2", "--candidates", "3", "--with-candidates"];
    let lines = objects(generate(model.path()).args(arguments));
    let (plain, _) = succeeded(generate(model.path()).args(arguments));
    let mut expected = Vec::new();
    for line in &lines {
        let candidates = line["candidates"].as_array().unwrap();
        assert_eq!(candidates.len(), 3);
        assert!(candidates.contains(&line["text"]));
        expected.push(line["text"].as_str().unwrap().to_string());
        expected.extend(candidates.iter().map(|text| format!("\t{}", text.as_str().unwrap())));
    }
    // A text of an untrained model may hold line ends, which the plain format shows as spaces.
    let expected: Vec<String> =
        expected.iter().map(|line| line.replace(['\n', '\r'], " ")).collect();
    assert_eq!(plain.split_terminator('\n').collect::<Vec<_>>(), expected);
    let usual = objects(generate(model.path()).args(["--count", "2", "--candidates", "3"]));
    assert!(usual.iter().all(|line| line.get("candidates").is_none()));
}

#[test]
fn lengths_are_drawn_or_given() {
    let model = encoder_space_model();
    let lengths = |arguments: &[&str]| -> Vec<u64> {
        let command = &mut generate(model.path());
        let lines = objects(command.args(["--count", "5"]).args(arguments));
        lines.iter().map(|line| line["length"].as_u64().unwrap()).collect()
    };
    let drawn = lengths(&[]);
    assert!(drawn.iter().all(|length| (1..=16).contains(length)), "{drawn:?}");
    assert_eq!(drawn, lengths(&["--lengths", "drawn"]));
    assert_eq!(lengths(&["--lengths", "12, 3"]), [12, 3, 12, 3, 12]);

    let refuse = |lengths| refused(generate(model.path()).args(["--lengths", lengths]), 1);
    assert_mentions(&refuse("12,17"), &["text 1", "length 17", "1..=16"]);
    assert_mentions(&refuse("predicted"), &["has no predictor"]);
    let message = refused(generate(model.path()).args(["--lengths", "long"]), 2);
    assert_mentions(&message, &["--lengths", "drawn, predicted, or numbers"]);
    let message = refused(generate(unconditional_model().path()).args(["--lengths", "3"]), 1);
    assert_mentions(&message, &["4 latents of every text", "leave `lengths` out"]);
}

#[test]
fn a_newer_model_is_an_error_that_says_to_update() {
    let model = unconditional_model();
    let path = model.path().join("config.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"format_version\": 1", "\"format_version\": 2")).unwrap();
    let message = refuses_to_load(model.path());
    assert_mentions(&message, &["config.json", "format version 2", "update latent-text"]);
}

#[test]
fn guidance_needs_a_condition() {
    let label = ["--label", "pub", "--guidance", "2"];
    succeeded(generate(conditional_model().path()).args(label));
    let model = unconditional_model();
    let message = refused(generate(model.path()).args(["--guidance", "2"]), 1);
    assert_mentions(&message, &["guidance", "the model knows none"]);
    let plain = objects(generate(model.path()).args(["--guidance", "1"]));
    assert_eq!(plain, objects(&mut generate(model.path())));
    let message = refused(generate(model.path()).args(["--guidance", "much"]), 2);
    assert_mentions(&message, &["--guidance"]);
}

#[test]
fn autoguidance_needs_a_weaker_denoiser() {
    let model = conditional_model();
    let message = refused(generate(model.path()).args(["--autoguidance", "2"]), 1);
    assert_mentions(&message, &["autoguidance", "weaker denoiser"]);
    let both = ["--autoguidance", "2", "--guidance", "2"];
    assert_mentions(&refused(generate(model.path()).args(both), 2), &["--guidance"]);
}
