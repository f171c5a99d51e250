//! Model folders: written, read, and damaged in every way.

use std::error::Error;
use std::fs;
use std::path::Path;

use crate::common::{bart, prompts, tensors};
use burn::tensor::{Device, FloatDType, Int, Tensor};
use latent_text_language_model::{
    BartConfig, EncoderDecoderConfig, LanguageModel, LanguageModelError, TextTokenizer, shift_right,
};
use latent_text_nn::weights::WeightsError;
use latent_text_testing::{distance, fixture, values};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use tempfile::TempDir;

/// A copy of a fixture's folder that a test may damage.
fn copy_of(folder: &str) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture(folder)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

fn refusal(folder: &Path) -> LanguageModelError {
    LanguageModel::load(folder, &Device::default()).unwrap_err()
}

/// The message with those of its causes.
fn full_message(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        message = format!("{message}: {next}");
        cause = next.source();
    }
    message
}

fn bytes_of(ids: &[i64]) -> Vec<u8> {
    ids.iter().flat_map(|id| id.to_le_bytes()).collect()
}

#[test]
fn a_saved_model_is_the_same() {
    let device = Device::default();
    let model = LanguageModel::load(&fixture("bart"), &device).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ids = Tensor::<2, Int>::from_ints([[0, 30, 40, 2]], &device);
    let logits = |model: &LanguageModel| {
        model.model.decode(ids.clone(), model.model.encode(ids.clone(), None), None)
    };
    for (dtype, tolerance) in
        [(FloatDType::F32, 0.0), (FloatDType::F16, 3e-2), (FloatDType::BF16, 3e-1)]
    {
        model.save(folder.path(), dtype).unwrap();
        let again = LanguageModel::load(folder.path(), &device).unwrap();
        assert_eq!(again.config, model.config);
        let EncoderDecoderConfig::Bart(config) = &again.config else { panic!("a BART") };
        assert_eq!(config.forced_bos_token_id, Some(0));
        let off = distance(logits(&model), logits(&again));
        println!("{dtype:?}: {off:e}");
        assert!(off <= tolerance);
        assert!(dtype == FloatDType::F32 || off > 0.0);
    }
    let left: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert_eq!(left.len(), 6, "{left:?}");
}

/// Writes a folder with `logits.safetensors` beside, for `fixtures/check_in_transformers.py`. The
/// folder is `LATENT_TEXT_WRITTEN_MODEL` where that is set.
#[test]
fn a_trained_model_can_be_written_for_transformers() {
    let device = Device::default();
    let temporary = tempfile::tempdir().unwrap();
    let folder = std::env::var_os("LATENT_TEXT_WRITTEN_MODEL")
        .map_or(temporary.path().to_path_buf(), Into::into);
    let corpus = fs::read_to_string(fixture("corpus.txt")).unwrap();
    let tokenizer = TextTokenizer::train_byte_level_bpe(corpus.lines(), 384).unwrap();
    let mut model = LanguageModel::load(&fixture("bart"), &device).unwrap();
    model.tokenizer = tokenizer;
    model.save(&folder, FloatDType::F32).unwrap();

    let file = tensors("forward.safetensors");
    let prompts = prompts(&file, &device);
    let states = model.model.encode(prompts.ids.clone(), Some(prompts.mask.clone()));
    let decoder_ids = shift_right(file.ints("labels", &device).unwrap(), 2);
    let logits = model.model.decode(decoder_ids.clone(), states, Some(prompts.mask.clone()));
    let text = "The cat didn't see a red café, really!";
    let text_ids = model.tokenizer.encode_batch(&[text], 64).unwrap().ids.remove(0);

    let ints = |tensor: Tensor<2, Int>| {
        let shape = tensor.dims().to_vec();
        (shape, bytes_of(&tensor.try_into_vec_as::<i64>().unwrap()))
    };
    let (logits_shape, logits) = (logits.dims().to_vec(), values(logits));
    let logits: Vec<u8> = logits.iter().flat_map(|value| value.to_le_bytes()).collect();
    let text_ids: Vec<i64> = text_ids.into_iter().map(i64::from).collect();
    let stored = [
        ("input_ids", Dtype::I64, ints(prompts.ids)),
        ("mask", Dtype::I64, ints(prompts.mask.int())),
        ("decoder_input_ids", Dtype::I64, ints(decoder_ids)),
        ("logits", Dtype::F32, (logits_shape, logits)),
        ("text", Dtype::U8, (vec![text.len()], text.as_bytes().to_vec())),
        ("text_ids", Dtype::I64, (vec![text_ids.len()], bytes_of(&text_ids))),
    ];
    let views = stored.iter().map(|(name, dtype, (shape, bytes))| {
        (*name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    let written = safetensors::serialize(views, None).unwrap();
    fs::write(folder.join("logits.safetensors"), written).unwrap();
    assert!(LanguageModel::load(&folder, &device).is_ok());
}

#[test]
fn a_fresh_model_needs_a_vocabulary_that_fits() {
    let device = Device::default();
    let tokenizer = || TextTokenizer::from_folder(&fixture("vocabulary")).unwrap();
    let config = BartConfig::from_folder(&fixture("bart")).unwrap();
    assert!(LanguageModel::new(config.clone(), tokenizer(), &device).is_ok());
    let small = BartConfig { vocab_size: 383, ..config.clone() };
    let refused = LanguageModel::new(small, tokenizer(), &device).unwrap_err();
    assert!(matches!(refused, LanguageModelError::VocabularySize { tokenizer: 384, model: 383 }));
    let faulty = BartConfig { d_model: 15, ..config };
    let refused = LanguageModel::new(faulty, tokenizer(), &device).unwrap_err();
    assert!(matches!(refused, LanguageModelError::InvalidConfig(_)));
}

#[test]
fn missing_files_are_named() {
    let refused = refusal(Path::new("no/such/folder"));
    assert!(refused.to_string().starts_with("no/such/folder/config.json is missing"), "{refused}");
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        let folder = copy_of("bart");
        let path = folder.path().join(file);
        fs::remove_file(&path).unwrap();
        let refused = refusal(folder.path());
        assert!(matches!(refused, LanguageModelError::Missing { .. }), "{refused}");
        assert!(refused.to_string().starts_with(&format!("{} is missing", path.display())));
    }
    let folder = copy_of("vocabulary");
    fs::remove_file(folder.path().join("merges.txt")).unwrap();
    let refused = TextTokenizer::from_folder(folder.path()).unwrap_err();
    assert!(refused.to_string().contains("merges.txt is missing"), "{refused}");
}

#[test]
fn files_that_are_cut_off_are_named() {
    let every = |file: &str, step: usize| {
        let folder = copy_of("bart");
        let path = folder.path().join(file);
        let whole = fs::read(&path).unwrap();
        for length in (0..whole.len()).step_by(step) {
            fs::write(&path, &whole[..length]).unwrap();
            let refused = refusal(folder.path());
            assert!(refused.to_string().contains(file), "{file} cut to {length}: {refused}");
        }
    };
    every("config.json", 37);
    every("generation_config.json", 37);
    every("tokenizer_config.json", 37);
    every("tokenizer.json", 997);
    every("model.safetensors", 4999);

    let folder = copy_of("vocabulary");
    let path = folder.path().join("vocab.json");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let refused = TextTokenizer::from_folder(folder.path()).unwrap_err();
    assert!(refused.to_string().contains("vocab.json"), "{refused}");
}

#[test]
fn a_folder_in_place_of_a_file_is_named() {
    let folder = copy_of("bart");
    let path = folder.path().join("config.json");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let refused = refusal(folder.path());
    assert!(matches!(refused, LanguageModelError::File { action: "read", .. }), "{refused}");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let model = LanguageModel::load(&fixture("bart"), &Device::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let refused = model.save(&file.join("model"), FloatDType::F32).unwrap_err();
    assert!(matches!(refused, LanguageModelError::File { action: "create", .. }), "{refused}");
}

#[test]
fn bad_configurations_are_explained() {
    for (entry, value, explanation) in [
        ("d_model", "15", "`encoder_attention_heads` is 2, but it must divide d_model = 15"),
        ("decoder_attention_heads", "0", "must divide d_model = 16"),
        ("encoder_layers", "0", "must lie in 1..=1024"),
        ("decoder_layers", "1000000000000", "must lie in 1..=1024"),
        ("max_position_embeddings", "18446744073709551615", "must lie in 1..=16777216"),
        ("d_model", "-3", "invalid value"),
        ("dropout", "1.0", "must lie in [0, 1)"),
        ("attention_dropout", "-0.1", "must lie in [0, 1)"),
        ("init_std", "-1", "must be a number of 0 or more"),
        ("activation_function", "\"mish\"", "unknown variant `mish`, expected one of `gelu`, "),
        ("pad_token_id", "384", "must be below vocab_size = 384"),
        ("vocab_size", "100", "the tokenizer has 384 tokens"),
        ("tie_word_embeddings", "false", "must be true"),
        ("model_type", "\"marian\"", "`model_type` is marian, but it must be `bart`"),
        ("vocab_size", "\"many\"", "invalid type"),
    ] {
        let folder = copy_of("bart");
        let path = folder.path().join("config.json");
        let text = fs::read_to_string(&path).unwrap();
        let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(config.get(entry).is_some(), "{entry}");
        config[entry] = serde_json::from_str(value).unwrap();
        fs::write(&path, config.to_string()).unwrap();

        let message = full_message(&refusal(folder.path()));
        assert!(message.contains(explanation), "{entry} = {value}: {message}");
        let names_file = message.contains("config.json");
        assert!(names_file || explanation.contains("tokenizer"), "{message}");
    }
}

#[test]
fn absent_entries_have_the_values_of_bart_large() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), r#"{"model_type": "bart", "new": [1]}"#).unwrap();
    let config = BartConfig::from_folder(folder.path()).unwrap();
    assert_eq!(config, BartConfig { forced_eos_token_id: None, ..BartConfig::default() });
    assert_eq!((config.d_model, config.vocab_size), (1024, 50265));
}

#[test]
fn generation_settings_beside_the_model_are_the_authority() {
    let folder = copy_of("bart");
    let path = folder.path().join("generation_config.json");
    fs::write(&path, r#"{"decoder_start_token_id": 3, "num_beams": 4}"#).unwrap();
    let config = BartConfig::from_folder(folder.path()).unwrap();
    assert_eq!(config.decoder_start_token_id, 3);
    assert_eq!((config.forced_bos_token_id, config.forced_eos_token_id), (None, None));
}

/// Rewrites the weights with each tensor as `change` wants it: kept, renamed or dropped.
fn rewrite(
    folder: &Path,
    change: impl Fn(&str) -> Vec<String>,
    shape: impl Fn(&str) -> Option<Vec<usize>>,
) {
    let path = folder.join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut views = Vec::new();
    for (name, view) in tensors.iter() {
        for new in change(name) {
            let shape = shape(&new).unwrap_or(view.shape().to_vec());
            let length = shape.iter().product::<usize>() * 4;
            views
                .push((new, TensorView::new(view.dtype(), shape, &view.data()[..length]).unwrap()));
        }
    }
    let written = safetensors::serialize(views, None).unwrap();
    fs::write(path, written).unwrap();
}

fn as_it_is(_: &str) -> Option<Vec<usize>> {
    None
}

#[test]
fn tied_tables_may_go_by_any_name() {
    let device = Device::default();
    let ids = Tensor::<2, Int>::from_ints([[0, 30, 40, 2]], &device);
    let expected = bart(&device).encode(ids.clone(), None);
    for names in [
        vec!["lm_head.weight"],
        vec!["model.decoder.embed_tokens.weight"],
        vec!["model.shared.weight", "lm_head.weight", "model.encoder.embed_tokens.weight"],
    ] {
        let folder = copy_of("bart");
        let change = |name: &str| match name {
            "model.shared.weight" => names.iter().map(|name| name.to_string()).collect(),
            other => vec![other.to_string()],
        };
        rewrite(folder.path(), change, as_it_is);
        let model = LanguageModel::load(folder.path(), &device).unwrap();
        assert_eq!(distance(model.model.encode(ids.clone(), None), expected.clone()), 0.0);
    }
}

#[test]
fn weights_that_do_not_fit_are_listed() {
    let folder = copy_of("bart");
    let change = |name: &str| match name {
        "model.shared.weight" => vec![],
        "model.encoder.layers.0.fc1.weight" => {
            vec!["model.encoder.layers.9.fc1.weight".to_string()]
        }
        other => vec![other.to_string()],
    };
    let shape = |name: &str| (name == "model.decoder.layers.1.fc2.bias").then(|| vec![15]);
    rewrite(folder.path(), change, shape);
    let refused = refusal(folder.path());
    let LanguageModelError::Weights(WeightsError::Mismatch { path, problems }) = &refused else {
        panic!("{refused}")
    };
    assert_eq!(path, &folder.path().join("model.safetensors"));
    assert_eq!(problems.len(), 4, "{problems:?}");
    for part in [
        "missing: model.shared.weight",
        "missing: model.encoder.layers.0.fc1.weight",
        "unexpected: model.encoder.layers.9.fc1.weight",
        "model.decoder.layers.1.fc2.bias has shape [15], the model needs [16]",
    ] {
        assert!(refused.to_string().contains(part), "{refused}");
    }

    let folder = copy_of("bart");
    let shape = |name: &str| (name == "final_logits_bias").then(|| vec![1, 383]);
    rewrite(folder.path(), |name| vec![name.to_string()], shape);
    let refused = refusal(folder.path());
    assert!(refused.to_string().contains("has shape [1, 383], the model needs [1, 384]"));
}

#[test]
fn merges_that_do_not_fit_the_vocabulary_are_refused() {
    let folder = copy_of("vocabulary");
    let path = folder.path().join("merges.txt");
    let merges = fs::read_to_string(&path).unwrap();
    for bad in ["the cat\n", "qqqqqqqqqqqqqqqqq q\n", "alone\n"] {
        fs::write(&path, format!("{merges}{bad}")).unwrap();
        let refused = full_message(&TextTokenizer::from_folder(folder.path()).unwrap_err());
        assert!(refused.contains("merges.txt") && refused.contains("merge 124"), "{refused}");
    }

    let folder = copy_of("bart");
    let path = folder.path().join("tokenizer.json");
    let text = fs::read_to_string(&path).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    // Both halves are tokens, but their sum is longer than any token.
    let longest =
        json["model"]["vocab"].as_object().unwrap().keys().max_by_key(|k| k.len()).unwrap();
    let merge = serde_json::json!([longest, longest]);
    json["model"]["merges"].as_array_mut().unwrap().push(merge);
    fs::write(&path, json.to_string()).unwrap();
    let refused = full_message(&refusal(folder.path()));
    assert!(refused.contains("tokenizer.json") && refused.contains("does not fit"), "{refused}");
}
