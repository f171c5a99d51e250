//! What the configurations of all families read from a folder.

use std::fs;

use latent_text_language_model::{BartConfig, EosTokenIds, LanguageModelError, T5Config};

/// Writes both files, the second one if it has entries, and reads them.
fn read<C>(
    config: &str,
    generation: Option<&str>,
    from_folder: fn(&std::path::Path) -> Result<C, LanguageModelError>,
) -> Result<C, LanguageModelError> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), config).unwrap();
    if let Some(generation) = generation {
        fs::write(folder.path().join("generation_config.json"), generation).unwrap();
    }
    from_folder(folder.path())
}

fn bart(config: &str, generation: Option<&str>) -> Result<BartConfig, LanguageModelError> {
    read(&format!(r#"{{"model_type": {config}}}"#), generation, BartConfig::from_folder)
}

fn t5(config: &str, generation: Option<&str>) -> Result<T5Config, LanguageModelError> {
    read(&format!(r#"{{"model_type": {config}}}"#), generation, T5Config::from_folder)
}

/// The faulty file's name and what is wrong in it.
fn fault<C: std::fmt::Debug>(result: Result<C, LanguageModelError>) -> (String, String) {
    match result {
        Err(LanguageModelError::Config { path, source }) => {
            (path.file_name().unwrap().to_str().unwrap().to_string(), source.to_string())
        }
        Err(LanguageModelError::Json { path, source }) => {
            (path.file_name().unwrap().to_str().unwrap().to_string(), source.to_string())
        }
        result => panic!("{result:?}"),
    }
}

fn eos(ids: &[u32]) -> EosTokenIds {
    EosTokenIds::new(ids).unwrap()
}

#[test]
fn end_tokens_are_a_number_or_a_list_in_both_files() {
    let config = bart(r#""bart", "eos_token_id": [2, 5]"#, None).unwrap();
    assert_eq!(config.eos_token_id, eos(&[2, 5]));
    let config = bart(r#""bart", "eos_token_id": [2, 5]"#, Some(r#"{"eos_token_id": 7}"#)).unwrap();
    assert_eq!(config.eos_token_id, eos(&[7]));
    let config = t5(r#""t5""#, Some(r#"{"eos_token_id": [8, 9]}"#)).unwrap();
    assert_eq!(config.eos_token_id, eos(&[8, 9]));
    for absent in ["{}", r#"{"eos_token_id": null}"#] {
        let config = t5(r#""mt5", "eos_token_id": 4"#, Some(absent)).unwrap();
        assert_eq!(config.eos_token_id, eos(&[4]));
    }
}

#[test]
fn tokens_of_the_generation_file_go_first_but_for_the_pad() {
    let model = r#""bart", "pad_token_id": 10, "bos_token_id": 11, "decoder_start_token_id": 12,
        "forced_bos_token_id": 13, "forced_eos_token_id": 14"#;
    let tokens = |config: BartConfig| {
        let ids = [config.pad_token_id, config.bos_token_id, Some(config.decoder_start_token_id)];
        (ids, [config.forced_bos_token_id, config.forced_eos_token_id])
    };
    let alone = tokens(bart(model, None).unwrap());
    assert_eq!(alone, ([Some(10), Some(11), Some(12)], [Some(13), Some(14)]));
    let absent = tokens(bart(r#""bart""#, None).unwrap());
    assert_eq!(absent, ([Some(1), Some(0), Some(2)], [None, None]));
    let nothing = tokens(bart(model, Some("{}")).unwrap());
    assert_eq!(nothing, ([Some(10), Some(11), Some(12)], [None, None]));
    let all = r#"{"pad_token_id": 20, "bos_token_id": 21, "decoder_start_token_id": 22,
        "forced_bos_token_id": 23, "forced_eos_token_id": 24, "num_beams": 4}"#;
    let all = tokens(bart(model, Some(all)).unwrap());
    assert_eq!(all, ([Some(10), Some(21), Some(22)], [Some(23), Some(24)]));
}

#[test]
fn a_text_without_a_start_token_begins_with_the_begin_of_text_token() {
    let start = |config: &str, generation| bart(config, generation).unwrap().decoder_start_token_id;
    assert_eq!(start(r#""bart""#, None), 2);
    assert_eq!(start(r#""mbart""#, None), 0);
    assert_eq!(start(r#""mbart", "bos_token_id": 6"#, None), 6);
    assert_eq!(start(r#""bart", "bos_token_id": 6, "decoder_start_token_id": null"#, None), 6);
    assert_eq!(start(r#""bart", "decoder_start_token_id": 3"#, Some(r#"{"bos_token_id": 6}"#)), 6);
    let without = r#""bart", "bos_token_id": null, "decoder_start_token_id": null"#;
    assert_eq!(start(without, Some(r#"{"decoder_start_token_id": 6}"#)), 6);
    let (file, problem) = fault(bart(without, None));
    assert_eq!(file, "config.json");
    assert!(problem.starts_with("`decoder_start_token_id` is absent"), "{problem}");

    assert_eq!(t5(r#""t5""#, Some(r#"{"bos_token_id": 6}"#)).unwrap().decoder_start_token_id, 6);
}

#[test]
fn a_model_may_have_no_pad_and_no_begin_of_text_token() {
    let config = bart(r#""bart", "pad_token_id": null, "bos_token_id": null"#, None).unwrap();
    assert_eq!((config.pad_token_id, config.bos_token_id), (None, None));
    assert_eq!(t5(r#""t5", "pad_token_id": null"#, None).unwrap().pad_token_id, None);
}

#[test]
fn general_names_of_entries_go_first() {
    let config = bart(
        r#""bart", "hidden_size": 32, "num_hidden_layers": 3, "encoder_layers": 5,
        "num_attention_heads": 2, "encoder_ffn_dim": null"#,
        None,
    );
    assert_eq!(fault(config).0, "config.json");
    let config = bart(
        r#""bart", "hidden_size": 32, "num_hidden_layers": 3, "encoder_layers": 5,
        "num_attention_heads": 2"#,
        None,
    )
    .unwrap();
    assert_eq!((config.d_model, config.encoder_layers), (32, 3));
    assert_eq!((config.encoder_attention_heads, config.decoder_attention_heads), (2, 16));
    let config = t5(r#""t5", "head_dim": 5, "num_layers": 7, "num_hidden_layers": null"#, None);
    let config = config.unwrap();
    assert_eq!((config.d_kv, config.num_layers), (5, 7));
}

#[test]
fn what_another_network_would_compute_is_refused() {
    for (entries, entry) in [
        (r#""bart", "normalize_before": true"#, "normalize_before"),
        (r#""mbart", "normalize_before": false"#, "normalize_before"),
        (r#""bart", "static_position_embeddings": true"#, "static_position_embeddings"),
        (r#""bart", "tie_word_embeddings": false"#, "tie_word_embeddings"),
        (r#""marian""#, "model_type"),
        ("3", "model_type"),
    ] {
        let (file, problem) = fault(bart(entries, None));
        assert_eq!(file, "config.json");
        assert!(problem.starts_with(&format!("`{entry}` is ")), "{problem}");
    }
    bart(r#""bart", "normalize_before": false, "add_final_layer_norm": false"#, None).unwrap();
    bart(r#""mbart", "normalize_before": true, "add_final_layer_norm": true"#, None).unwrap();
}

#[test]
fn faults_name_the_file_that_has_them() {
    for (config, generation, file, problem) in [
        (r#""bart", "eos_token_id": []"#, None, "config.json", "must have at least one id"),
        (r#""bart", "eos_token_id": null"#, None, "config.json", "expected a token id or a list"),
        (r#""bart", "eos_token_id": [2, 60000]"#, None, "config.json", "`eos_token_id` is 60000"),
        (r#""bart", "dropout": "no""#, None, "config.json", "line 1"),
        (
            r#""bart", "activation_function": "gelu_12""#,
            None,
            "config.json",
            "`gelu_pytorch_tanh`, `quick_",
        ),
        (r#""bart""#, Some(r#"{"eos_token_id": [60000]}"#), "generation_config.json", "60000"),
        (r#""bart""#, Some(r#"{"pad_token_id": -1}"#), "generation_config.json", "`-1`"),
        (r#""bart""#, Some("[]"), "generation_config.json", "invalid length"),
        (r#""bart""#, Some(""), "generation_config.json", "EOF"),
    ] {
        let found = fault(bart(config, generation));
        assert_eq!(found.0, file, "{found:?}");
        assert!(found.1.contains(problem), "{found:?}");
    }
}
