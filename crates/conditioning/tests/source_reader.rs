//! Reading source texts with the encoder of a tiny BART.

use burn::tensor::Device;
use latent_text_conditioning::{ConditioningError, SourceReader};
use latent_text_language_model::{BartConfig, LanguageModel};
use latent_text_testing::{distance, tiny_bart};

const POSITIONS: usize = 32;

fn language_model() -> LanguageModel {
    let texts = ["The Vaults is a cheap pub near the river.", "The Mill is a cheap cafe."];
    let config = BartConfig { init_std: 1.0, ..tiny_bart(16, POSITIONS) };
    latent_text_testing::language_model(texts, 280, config, &Device::default())
}

fn reader(max_tokens: usize) -> SourceReader {
    SourceReader::new(language_model(), max_tokens).unwrap()
}

#[test]
fn states_are_those_of_the_language_models_encoder() {
    let reader = reader(16);
    let texts = ["name[The Mill]", "x", ""];
    let (states, mask) = reader.read(&texts).unwrap();
    let (expected, expected_mask) = reader.language_model().encode_texts(&texts, 16).unwrap();
    assert_eq!(states.dims()[2], reader.dim());
    assert_eq!((reader.dim(), reader.max_tokens()), (16, 16));
    assert_eq!(distance(states, expected), 0.0);
    assert_eq!(mask.to_data(), expected_mask.to_data());
}

#[test]
fn a_source_alone_is_read_as_beside_a_longer_one() {
    let reader = reader(POSITIONS);
    let (long, short) = ("name[The Mill] area[x]", "The Mill");
    let (states, mask) = reader.read(&[short, long]).unwrap();
    let (alone, alone_mask) = reader.read(&[short]).unwrap();
    let tokens = alone.dims()[1];
    assert!(tokens < states.dims()[1]);
    let real = mask.int().narrow(0, 0, 1).try_into_vec_as::<i64>().unwrap();
    assert_eq!(real.iter().sum::<i64>(), tokens as i64);
    assert!(alone_mask.int().try_into_vec_as::<i64>().unwrap().iter().all(|real| *real == 1));
    let beside = states.slice([0..1, 0..tokens]);
    let error = distance(beside, alone);
    assert!(error < 1e-5, "{error}");
}

#[test]
fn tokens_and_encoding_make_up_reading() {
    let reader = reader(16);
    let texts = ["The Mill is a pub", "cafe"];
    let tokens = reader.tokenize(&texts).unwrap();
    // As in training, where all batches are of one length.
    let (ids, mask) = tokens.tensors(16, &reader.device());
    let states = reader.encode(ids, mask);
    let (read, _) = reader.read(&texts).unwrap();
    let short = tokens.ids[1].len();
    let error = distance(states.slice([1..2, 0..short]), read.slice([1..2, 0..short]));
    assert!(error < 1e-5, "{error}");
}

#[test]
fn long_sources_are_cut_off_and_can_be_found() {
    let reader = reader(6);
    let long = "The Mill is a cheap cafe near the river";
    let whole = reader.language_model().tokenizer.encode_batch(&[long], 1000).unwrap();
    let cut = reader.tokenize(&[long, "x"]).unwrap();
    assert_eq!(cut.ids[0].len(), 6);
    assert_eq!(cut.ids[0][..5], whole.ids[0][..5]);
    assert_eq!(cut.ids[0][5], reader.language_model().tokenizer.eos_id());
    assert_eq!(reader.read(&[long]).unwrap().0.dims(), [1, 6, 16]);

    reader.check_lengths(&["x"]).unwrap();
    match reader.check_lengths(&["x", long, long]) {
        Err(ConditioningError::SourceTooLong { index: 1, tokens, most: 6 }) => {
            assert_eq!(tokens, whole.ids[0].len());
        }
        other => panic!("{other:?}"),
    }
    let length = whole.ids[0].len();
    self::reader(length).check_lengths(&[long]).unwrap();
    assert!(self::reader(length - 1).check_lengths(&[long]).is_err());
}

#[test]
fn there_must_be_sources() {
    for refused in [reader(8).tokenize(&[]).map(drop), reader(8).read(&[]).map(drop)] {
        assert!(matches!(refused, Err(ConditioningError::NoSources)), "{refused:?}");
    }
}

#[test]
fn limits_that_the_encoder_has_no_room_for_are_refused() {
    for max_tokens in [0, 2, POSITIONS + 1, usize::MAX] {
        let message = SourceReader::new(language_model(), max_tokens).unwrap_err().to_string();
        assert!(message.contains(&format!("max_tokens = {max_tokens}")), "{message}");
    }
    reader(3);
    reader(POSITIONS);
}
