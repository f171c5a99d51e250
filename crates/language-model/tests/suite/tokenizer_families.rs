//! The tokenizers of BART and T5 against `transformers` on a thousand odd texts, on fixtures of
//! `fixtures/tokenizer/make_fixtures.py`.

use std::fs;
use std::io::Read;
use std::path::Path;

use flate2::Crc;
use flate2::read::GzDecoder;
use latent_text_language_model::{LanguageModelError, SpecialTokens, TextTokenizer};
use latent_text_testing::fixture;
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

const T5: SpecialTokens = SpecialTokens { bos: None, eos: 1, pad: 0, unk: Some(2), mask: None };
const ROOM: usize = 100_000;

#[derive(Deserialize)]
struct Cases {
    texts: Vec<String>,
    bart: Answers,
    t5: T5Answers,
    few_texts: Vec<String>,
    small: Small,
}

#[derive(Deserialize)]
struct T5Answers {
    with_settings: Answers,
    /// Of `spiece.model` without `tokenizer_config.json`.
    bare: Answers,
    /// Of `tokenizer.json` without `tokenizer_config.json`.
    bare_file: Answers,
}

#[derive(Deserialize)]
struct Small {
    bare: Answers,
    like_mt5: Answers,
}

#[derive(Deserialize)]
struct Answers {
    ids: Vec<Vec<u32>>,
    /// Of the last texts only, cut off to 8 ids.
    short_ids: Vec<Vec<u32>>,
    decoded: Vec<String>,
}

fn unpacked(name: &str) -> Vec<u8> {
    let packed = fs::read(fixture("tokenizer").join(name).with_added_extension("gz")).unwrap();
    let mut bytes = Vec::new();
    GzDecoder::new(packed.as_slice()).read_to_end(&mut bytes).unwrap();
    bytes
}

fn cases() -> Cases {
    serde_json::from_slice(&unpacked("cases.json")).unwrap()
}

/// A folder with these fixtures.
fn folder_of(names: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        let file = Path::new(name).file_name().unwrap();
        fs::write(folder.path().join(file), unpacked(name)).unwrap();
    }
    folder
}

fn check(tokenizer: &TextTokenizer, texts: &[String], answers: &Answers) {
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    assert_eq!((texts.len(), texts.len()), (answers.ids.len(), answers.decoded.len()));
    let ids = tokenizer.encode_batch(&texts, ROOM).unwrap().ids;
    for (place, text) in texts.iter().enumerate() {
        assert_eq!(ids[place], answers.ids[place], "{text:?}");
        assert_eq!(
            tokenizer.decode(&ids[place]).unwrap(),
            answers.decoded[place].trim(),
            "{text:?}"
        );
    }
    assert_eq!(answers.short_ids.len(), 100);
    let last = &texts[texts.len() - answers.short_ids.len()..];
    assert_eq!(tokenizer.encode_batch(last, 8).unwrap().ids, answers.short_ids);
}

#[test]
fn bart_gives_the_ids_and_texts_of_transformers() {
    let folder = folder_of(&["bart-base/vocab.json", "bart-base/merges.txt"]);
    let tokenizer = TextTokenizer::from_folder(folder.path()).unwrap();
    let cases = cases();
    assert_eq!(cases.texts.len(), 1000);
    check(&tokenizer, &cases.texts, &cases.bart);
    assert_eq!(tokenizer.vocab_size(), 50265);
}

#[test]
fn a_sentence_piece_model_gives_the_ids_and_texts_of_transformers() {
    let folder = folder_of(&["t5/spiece.model", "t5/tokenizer_config.json"]);
    let tokenizer = TextTokenizer::from_folder(folder.path()).unwrap();
    let cases = cases();
    assert_eq!(cases.texts.len(), 1000);
    check(&tokenizer, &cases.texts, &cases.t5.with_settings);
    assert_eq!(tokenizer.special_tokens(), T5);
    assert_eq!(tokenizer.vocab_size(), 32100);
    assert_eq!(tokenizer.token_id("<extra_id_0>"), Some(32099));
    assert_eq!(tokenizer.token_id("<extra_id_99>"), Some(32000));
}

#[test]
fn a_sentence_piece_model_needs_no_settings() {
    let folder = folder_of(&["t5/spiece.model"]);
    let tokenizer = TextTokenizer::from_folder(folder.path()).unwrap();
    let cases = cases();
    check(&tokenizer, &cases.texts, &cases.t5.bare);
    assert_eq!(tokenizer.special_tokens(), T5);
}

/// The real `tokenizer.json` of T5: its vocabulary and table are those of `spiece.model`.
fn t5_file() -> Value {
    let folder = folder_of(&["t5/spiece.model"]);
    let saved = tempfile::tempdir().unwrap();
    let tokenizer = TextTokenizer::from_folder(folder.path()).unwrap();
    tokenizer.save_to_folder(saved.path(), 512).unwrap();
    let saved = fs::read(saved.path().join("tokenizer.json")).unwrap();
    let mut saved: Value = serde_json::from_slice(&saved).unwrap();
    let mut file: Value =
        serde_json::from_slice(&unpacked("t5/tokenizer_without_vocabulary.json")).unwrap();

    let vocabulary = saved["model"]["vocab"].take();
    let mut crc = Crc::new();
    for piece in vocabulary.as_array().unwrap() {
        crc.update(piece[0].as_str().unwrap().as_bytes());
        crc.update(&[0]);
        crc.update(&(piece[1].as_f64().unwrap() as f32).to_le_bytes());
    }
    assert_eq!(file["model"]["vocab"], crc.sum());
    file["model"]["vocab"] = vocabulary;

    let table = saved["normalizer"]["precompiled_charsmap"].take();
    let mut crc = Crc::new();
    crc.update(table.as_str().unwrap().as_bytes());
    let place = &mut file["normalizer"]["normalizers"][0]["precompiled_charsmap"];
    assert_eq!(*place, crc.sum());
    *place = table;
    file
}

#[test]
fn a_tokenizer_file_of_t5_gives_the_ids_and_texts_of_transformers() {
    let cases = cases();
    let folder = folder_of(&["t5/tokenizer_config.json"]);
    fs::write(folder.path().join("tokenizer.json"), t5_file().to_string()).unwrap();
    let tokenizer = TextTokenizer::from_folder(folder.path()).unwrap();
    check(&tokenizer, &cases.texts, &cases.t5.with_settings);
    assert_eq!(tokenizer.special_tokens(), T5);
    assert_eq!(tokenizer.vocab_size(), 32100);

    // Without the class of the tokenizer, the model's kind tells.
    fs::remove_file(folder.path().join("tokenizer_config.json")).unwrap();
    fs::write(folder.path().join("config.json"), r#"{"model_type": "t5"}"#).unwrap();
    let tokenizer = TextTokenizer::from_folder(folder.path()).unwrap();
    check(&tokenizer, &cases.texts, &cases.t5.bare_file);
}

#[test]
fn a_saved_tokenizer_of_t5_is_the_same() {
    let cases = cases();
    let folder = folder_of(&["t5/spiece.model", "t5/tokenizer_config.json"]);
    let saved = tempfile::tempdir().unwrap();
    let tokenizer = TextTokenizer::from_folder(folder.path()).unwrap();
    tokenizer.save_to_folder(saved.path(), 512).unwrap();
    let loaded = TextTokenizer::from_folder(saved.path()).unwrap();
    check(&loaded, &cases.texts, &cases.t5.with_settings);
    assert_eq!(loaded.special_tokens(), T5);
}

#[test]
fn settings_like_those_of_mt5_give_the_ids_and_texts_of_transformers() {
    let cases = cases();
    let tokenizer = TextTokenizer::from_folder(&fixture("tokenizer/small")).unwrap();
    check(&tokenizer, &cases.few_texts, &cases.small.like_mt5);
    assert_eq!(tokenizer.special_tokens(), T5);
    assert_eq!(tokenizer.vocab_size(), 440);
    assert_eq!(tokenizer.token_id("<extra_id_0>"), None);

    let bare = tempfile::tempdir().unwrap();
    fs::copy(fixture("tokenizer/small/spiece.model"), bare.path().join("spiece.model")).unwrap();
    let tokenizer = TextTokenizer::from_folder(bare.path()).unwrap();
    check(&tokenizer, &cases.few_texts, &cases.small.bare);
    assert_eq!(tokenizer.vocab_size(), 540);
}

#[test]
fn files_are_preferred_in_a_fixed_order() {
    let small = fixture("tokenizer/small/spiece.model");
    let folder = tempfile::tempdir().unwrap();
    let vocab_size = || TextTokenizer::from_folder(folder.path()).unwrap().vocab_size();
    let refused = TextTokenizer::from_folder(folder.path()).unwrap_err();
    assert!(matches!(refused, LanguageModelError::Missing { .. }), "{refused}");
    fs::copy(small, folder.path().join("spiece.model")).unwrap();
    assert_eq!(vocab_size(), 540);
    for file in ["vocab.json", "merges.txt"] {
        fs::copy(fixture("vocabulary").join(file), folder.path().join(file)).unwrap();
    }
    assert_eq!(vocab_size(), 384);
    let trained = TextTokenizer::train_byte_level_bpe(["abab"], 400).unwrap();
    trained.save_to_folder(folder.path(), 64).unwrap();
    assert_eq!(vocab_size(), trained.vocab_size());
    assert_ne!(vocab_size(), 384);
}

#[test]
fn damaged_tokenizer_files_of_t5_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |file: &Value| {
        fs::write(folder.path().join("tokenizer.json"), file.to_string()).unwrap();
        let refused = TextTokenizer::from_folder(folder.path()).unwrap_err();
        let LanguageModelError::Tokenizer { source, .. } = refused else { panic!("{refused}") };
        source.to_string()
    };
    let whole = t5_file();
    let table = whole["normalizer"]["normalizers"][0]["precompiled_charsmap"].as_str().unwrap();
    let with_table = |table: Value| {
        let mut file = whole.clone();
        file["normalizer"]["normalizers"][0]["precompiled_charsmap"] = table;
        file
    };
    assert!(refused(&with_table(json!(null))).contains("base64"));
    assert!(refused(&with_table(json!(table[..1001]))).contains("base64"));
    assert!(refused(&with_table(json!(table[..1000]))).contains("cut off"));
    assert!(refused(&with_table(json!("/////w=="))).contains("cut off"));
    assert!(refused(&with_table(json!(table.replace("AA", "//")))).contains("table"));
    let mut file = whole.clone();
    file["model"]["vocab"][7] = json!(["a".repeat(1_000_000), -3.0]);
    assert!(refused(&file).contains("piece 7 is too long"));
    let mut file = whole.clone();
    file["post_processor"]["special_tokens"] = json!({});
    assert!(refused(&file).contains("</s>"));
}
