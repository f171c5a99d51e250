//! Damaged SentencePiece models and tokenizer files give errors, or tokenizers that work: never a panic.

use std::fs;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use latent_text_language_model::{LanguageModelError, TextTokenizer};
use latent_text_testing::fixture;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const TEXTS: [&str; 6] = [
    "",
    "The cat saw 3 mice!",
    "naïve e\u{301} ﬁ ™ ﷺ Ａ\t字",
    "</s><x>\0",
    "👩‍👩‍👧‍👦 ½ ㎏ が",
    "▁ \u{200b}ǆ",
];

/// Loads a model and uses it; whether it could be loaded.
fn survives(folder: &Path, model: &[u8]) -> bool {
    fs::write(folder.join("spiece.model"), model).unwrap();
    match TextTokenizer::from_folder(folder) {
        Ok(tokenizer) => {
            let ids = tokenizer.encode_batch(&TEXTS, 64).unwrap().ids;
            for ids in ids {
                tokenizer.decode(&ids).unwrap();
            }
            true
        }
        Err(LanguageModelError::Tokenizer { .. } | LanguageModelError::MissingToken { .. }) => {
            false
        }
        Err(other) => panic!("{other}"),
    }
}

fn real() -> Vec<u8> {
    let packed = fs::read(fixture("tokenizer/t5/spiece.model.gz")).unwrap();
    let mut bytes = Vec::new();
    GzDecoder::new(packed.as_slice()).read_to_end(&mut bytes).unwrap();
    bytes
}

fn small() -> Vec<u8> {
    fs::read(fixture("tokenizer/small/spiece.model")).unwrap()
}

/// `model` with some of its bytes in `from..` changed.
fn damaged(model: &[u8], from: usize, rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut model = model.to_vec();
    for _ in 0..rng.random_range(1..=4) {
        let place = rng.random_range(from..model.len());
        model[place] = match rng.random_range(0..3) {
            0 => model[place] ^ 1 << rng.random_range(0..8),
            1 => rng.random(),
            _ => *[0, 1, 0x7f, 0x80, 0xff].get(rng.random_range(0..5)).unwrap(),
        };
    }
    model
}

#[test]
fn cut_off_models_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for model in [real(), small()] {
        assert!(survives(folder.path(), &model));
        for fiftieth in 0..50 {
            // The unknown token's place and the table come last, so nothing but the whole is whole.
            let cut = &model[..model.len() * fiftieth / 50];
            assert!(!survives(folder.path(), cut), "{fiftieth} / 50");
        }
    }
}

#[test]
fn many_lengths_of_a_small_model_are_survived() {
    let folder = tempfile::tempdir().unwrap();
    let model = small();
    for length in (0..model.len()).step_by(7) {
        survives(folder.path(), &model[..length]);
    }
}

#[test]
fn changed_bytes_are_survived() {
    let folder = tempfile::tempdir().unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let model = small();
    let loaded = (0..1500).filter(|_| survives(folder.path(), &damaged(&model, 0, &mut rng)));
    // Both ends of the road are taken.
    let loaded = loaded.count();
    assert!((150..1350).contains(&loaded), "{loaded} of 1500 were loaded");
}

#[test]
fn changed_bytes_of_a_real_table_are_survived() {
    let folder = tempfile::tempdir().unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let model = real();
    // The table is the last third of the model.
    let from = model.len() - 237_000;
    let loaded = (0..50).filter(|_| survives(folder.path(), &damaged(&model, from, &mut rng)));
    let loaded = loaded.count();
    assert!((1..50).contains(&loaded), "{loaded} of 50 were loaded");
}

#[test]
fn rearranged_bytes_are_survived() {
    let folder = tempfile::tempdir().unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let model = small();
    for _ in 0..500 {
        let mut bytes = model.clone();
        let [from, to] = [0; 2].map(|_| rng.random_range(0..model.len()));
        match rng.random_range(0..3) {
            0 => drop(bytes.drain(from.min(to)..from.max(to))),
            1 => bytes.splice(from..from, model[to..].to_vec()).for_each(drop),
            _ => bytes.rotate_left(from),
        }
        survives(folder.path(), &bytes);
    }
}

/// Saves `whole` with a changed character or two and loads it; whether it could be loaded.
fn file_survives(folder: &Path, whole: &str, rng: &mut ChaCha8Rng) -> bool {
    let mut text = whole.as_bytes().to_vec();
    for _ in 0..rng.random_range(1..=2) {
        let place = rng.random_range(0..text.len());
        let others: &[u8] = if rng.random_bool(0.2) { b"\"{}[],:\\-" } else { b"019aAzZ_+/" };
        text[place] = others[rng.random_range(0..others.len())];
    }
    fs::write(folder.join("tokenizer.json"), text).unwrap();
    let Ok(tokenizer) = TextTokenizer::from_folder(folder) else { return false };
    if let Ok(batch) = tokenizer.encode_batch(&TEXTS, 64) {
        for ids in batch.ids {
            // An error is as good as a text.
            drop(tokenizer.decode(&ids));
        }
    }
    true
}

#[test]
fn changed_characters_of_tokenizer_files_are_survived() {
    let t5 = TextTokenizer::from_folder(&fixture("tokenizer/small")).unwrap();
    let bart = TextTokenizer::from_folder(&fixture("vocabulary")).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    for tokenizer in [t5, bart] {
        let folder = tempfile::tempdir().unwrap();
        tokenizer.save_to_folder(folder.path(), 64).unwrap();
        let whole = fs::read(folder.path().join("tokenizer.json")).unwrap();
        let whole: serde_json::Value = serde_json::from_slice(&whole).unwrap();
        let whole = whole.to_string();
        let loaded = (0..700).filter(|_| file_survives(folder.path(), &whole, &mut rng)).count();
        assert!((20..680).contains(&loaded), "{loaded} of 700 were loaded");
    }
}
