//! Configurations that are damaged at random: an error or a model, never a panic and never memory for
//! sizes that only the file claims.

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use latent_text_language_model::{
    EncoderDecoder, EncoderDecoderConfig, GenerationConfig, LanguageModelError,
};
use latent_text_testing::fixture;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const FOLDERS: [&str; 4] = ["bart", "mbart/plain", "t5/t5", "t5/flan"];
const DAMAGES: usize = 400;

/// One to three bytes are lost, doubled, replaced, or a number becomes another one.
fn damaged(text: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut text = text.to_vec();
    for _ in 0..rng.random_range(1..=3) {
        let place = rng.random_range(0..text.len());
        match rng.random_range(0..6) {
            0 => text.truncate(place.max(8)),
            1 => drop(text.remove(place)),
            2 => text.insert(place, b"\"{}[],:-0e.\0\xff"[rng.random_range(0..13)]),
            3 => text[place] = rng.random(),
            4 => replace_number(&mut text, place, b"18446744073709551615"),
            _ => replace_number(
                &mut text,
                place,
                rng.random_range(0..1_u64 << 33).to_string().as_bytes(),
            ),
        }
    }
    text
}

/// The first number behind `place`.
fn replace_number(text: &mut Vec<u8>, place: usize, number: &[u8]) {
    let digit = |byte: &u8| byte.is_ascii_digit();
    let Some(first) = text[place..].iter().position(digit).map(|first| place + first) else {
        return;
    };
    let length = text[first..].iter().take_while(|&byte| digit(byte)).count();
    text.splice(first..first + length, number.iter().copied());
}

fn load(folder: &Path) -> Result<EncoderDecoder, LanguageModelError> {
    GenerationConfig::from_folder(folder)?;
    let config = EncoderDecoderConfig::from_folder(folder)?;
    EncoderDecoder::load(folder, &config, &Device::default())
}

#[test]
fn a_damaged_configuration_is_an_error_or_a_model() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    for folder in FOLDERS {
        let copy = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(fixture(folder)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        assert!(load(copy.path()).is_ok(), "{folder}");
        let (mut refused, mut tried) = (0, 0);
        for file in ["config.json", "generation_config.json"] {
            if !copy.path().join(file).exists() {
                continue;
            }
            let whole = fs::read(fixture(folder).join(file)).unwrap();
            for _ in 0..DAMAGES {
                fs::write(copy.path().join(file), damaged(&whole, &mut rng)).unwrap();
                refused += usize::from(load(copy.path()).is_err());
                tried += 1;
            }
            fs::write(copy.path().join(file), whole).unwrap();
        }
        println!("{folder}: {refused} of {tried} refused");
        assert!(refused > tried / 4 && refused < tried);
    }
}
