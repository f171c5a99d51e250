//! The settings of generation in model folders.

use std::fs;

use latent_text_language_model::{
    BeamSearch, Decoding, EarlyStopping, GenerationConfig, LanguageModelError, Sampling,
};
use tempfile::tempdir;

fn read(file: &str, text: &str) -> Result<GenerationConfig, LanguageModelError> {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join(file), text).unwrap();
    GenerationConfig::from_folder(folder.path())
}

#[test]
fn a_summarising_bart_searches_as_its_file_says() {
    let text = r#"{
        "_from_model_config": true, "num_beams": 4, "length_penalty": 2.0, "early_stopping": true,
        "max_length": 142, "min_length": 56, "no_repeat_ngram_size": 3, "forced_bos_token_id": 0
    }"#;
    let expected = GenerationConfig {
        max_length: 142,
        min_length: 56,
        no_repeat_ngram_size: 3,
        decoding: Decoding::Beam(BeamSearch {
            beams: 4,
            length_penalty: 2.0,
            early_stopping: EarlyStopping::First,
        }),
        ..GenerationConfig::default()
    };
    assert_eq!(read("generation_config.json", text).unwrap(), expected);
    // Old folders have all of it in one file.
    assert_eq!(read("config.json", text).unwrap(), expected);
}

#[test]
fn sampling_has_the_defaults_of_transformers() {
    let sampling = |text| match read("generation_config.json", text).unwrap().decoding {
        Decoding::Sampling(sampling) => sampling,
        other => panic!("{other:?}"),
    };
    let fifty = Sampling { top_k: Some(50), ..Sampling::default() };
    assert_eq!(sampling(r#"{"do_sample": true}"#), fifty);
    let all = Sampling { temperature: 0.7, top_p: 0.9, typical_p: 0.8, ..Sampling::default() };
    let text =
        r#"{"do_sample": true, "top_k": 0, "temperature": 0.7, "top_p": 0.9, "typical_p": 0.8}"#;
    assert_eq!(sampling(text), all);
}

#[test]
fn new_tokens_do_not_count_the_start_token() {
    let text = r#"{"max_new_tokens": 20, "max_length": 7, "min_new_tokens": 3, "num_beams": 1}"#;
    let config = read("generation_config.json", text).unwrap();
    assert_eq!((config.max_length, config.min_length), (21, 4));
    assert_eq!(config.decoding, Decoding::Greedy);
    assert_eq!(read("generation_config.json", "{}").unwrap(), GenerationConfig::default());
}

#[test]
fn what_cannot_be_done_is_refused_and_named() {
    for (text, named) in [
        (r#"{"num_beams": 4, "do_sample": true}"#, "do_sample"),
        (r#"{"num_beams": 4, "early_stopping": "soon"}"#, "early_stopping"),
    ] {
        let refused = read("generation_config.json", text).unwrap_err();
        let LanguageModelError::Config { path, source } = refused else { panic!("{refused}") };
        assert!(path.ends_with("generation_config.json"));
        assert_eq!(source.entry, named);
    }
    for text in ["", "{", r#"{"num_beams": -1}"#, r#"{"bad_words_ids": [1]}"#] {
        let refused = read("generation_config.json", text).unwrap_err();
        assert!(matches!(refused, LanguageModelError::Json { .. }), "{refused}");
    }
}
