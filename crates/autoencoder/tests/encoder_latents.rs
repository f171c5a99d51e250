//! The encoder's own states as latents, in varying number.

use std::fs;

use burn::tensor::{Bool, Device, FloatDType, Tensor, TensorData};
use latent_text_autoencoder::{
    AutoencoderConfig, AutoencoderError, EncoderLatentsConfig, LanguageAutoencoder, LatentSpace,
    LatentStatisticsAccumulator, Latents, PerceiverConfig,
};
use latent_text_language_model::{BartConfig, GenerationConfig, LanguageModel, TokenBatch};
use latent_text_testing::{distance, tiny_bart};
use serde_json::json;

const TEXTS: [&str; 3] = ["No.", "It rained all day.", "A cat sat."];
const MAX_TOKENS: usize = 24;

fn config() -> EncoderLatentsConfig {
    EncoderLatentsConfig { dim_lm: 32, max_tokens: MAX_TOKENS }
}

fn language_model(device: &Device) -> LanguageModel {
    // Larger than usual, so that logits of a fresh model are far enough apart to be told.
    let config = BartConfig { init_std: 0.3, ..tiny_bart(32, 32) };
    latent_text_testing::language_model(TEXTS, 290, config, device)
}

fn autoencoder(device: &Device) -> LanguageAutoencoder {
    let space = LatentSpace::Encoder { config: config() };
    LanguageAutoencoder::new(language_model(device), space).unwrap()
}

fn generation() -> GenerationConfig {
    GenerationConfig { max_length: 12, ..Default::default() }
}

#[test]
fn latents_are_the_states_of_the_encoder() {
    let device = Device::default();
    let autoencoder = autoencoder(&device);
    let language_model = &autoencoder.language_model;
    let together = autoencoder.encode_texts(&TEXTS).unwrap();
    let lengths = together.lengths().unwrap();
    let tokens = language_model.tokenizer.encode_batch(&TEXTS, usize::MAX).unwrap();
    assert_eq!(lengths, tokens.ids.iter().map(Vec::len).collect::<Vec<_>>());
    assert_eq!(together.values.dims(), [3, tokens.longest(), 32]);
    for (row, ids) in tokens.ids.iter().enumerate() {
        let alone = TokenBatch { ids: vec![ids.clone()], pad_id: tokens.pad_id };
        let (ids, _) = alone.tensors(alone.longest(), &device);
        let states = language_model.model.encode(ids, None);
        let found = together.values.clone().narrow(0, row, 1).narrow(1, 0, lengths[row]);
        let error = distance(found, states);
        assert!(error < 2e-5, "{row}: {error}");
    }
    assert!(autoencoder.has_varying_lengths() && !autoencoder.is_l2_normalised());
    assert_eq!((autoencoder.latent_dim(), autoencoder.max_latents()), (32, MAX_TOKENS));
}

#[test]
fn the_decoder_sees_real_latents_only() {
    let device = Device::default();
    let autoencoder = autoencoder(&device);
    let latents = autoencoder.encode_texts(&TEXTS).unwrap();
    let together = autoencoder.decode_latents(latents.clone(), &generation(), &[0; 3]).unwrap();
    for (row, text) in TEXTS.iter().enumerate() {
        let alone = autoencoder.encode_texts(&[text]).unwrap();
        let alone = autoencoder.decode_latents(alone, &generation(), &[0]).unwrap();
        assert_eq!(alone[0], together[row]);
        let one = latents.clone().of_texts(row..row + 1);
        assert_eq!(autoencoder.decode_latents(one, &generation(), &[0]).unwrap(), alone);
    }
    // Whatever stands in padding.
    let mask = latents.mask.clone().unwrap();
    let padding = mask.bool_not().unsqueeze_dim::<3>(2).expand(latents.values.dims());
    let loud = latents.clone().map(|values| values.mask_fill(padding, 30.0));
    assert_eq!(autoencoder.decode_latents(loud.clone(), &generation(), &[0; 3]).unwrap(), together);
    let unmasked = Latents::from(loud.values);
    assert_ne!(autoencoder.decode_latents(unmasked, &generation(), &[0; 3]).unwrap(), together);
}

#[test]
fn statistics_are_those_of_real_latents() {
    let device = Device::default();
    let autoencoder = autoencoder(&device);
    let latents = autoencoder.encode_texts(&TEXTS).unwrap();
    let mut together = LatentStatisticsAccumulator::new(32);
    for values in latents.real_values().unwrap() {
        together.add_values(&values);
    }
    let mut alone = LatentStatisticsAccumulator::new(32);
    for text in TEXTS {
        let values = autoencoder.encode_texts(&[text]).unwrap().values;
        alone.add_values(&values.try_into_vec_as::<f32>().unwrap());
    }
    let (together, alone) = (together.finish().unwrap(), alone.finish().unwrap());
    assert_eq!(together.count, latents.lengths().unwrap().iter().sum::<usize>() as u64);
    assert_eq!(together.count, alone.count);
    assert!((together.scale - alone.scale).abs() < 1e-5);
    for (one, other) in together.mean.iter().zip(&alone.mean) {
        assert!((one - other).abs() < 1e-5);
    }
}

#[test]
fn real_values_leave_padding_out() {
    let device = Device::default();
    let values = Tensor::<1>::from_floats([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], &device);
    let mask = TensorData::new(vec![true, false, true, true], [2, 2]);
    let values = values.reshape([2, 2, 2]);
    let latents =
        Latents { values: values.clone(), mask: Some(Tensor::<2, Bool>::from_data(mask, &device)) };
    assert_eq!(latents.lengths().unwrap(), [1, 2]);
    assert_eq!(latents.real_values().unwrap(), [vec![0.0, 1.0], vec![4.0, 5.0, 6.0, 7.0]]);
    let all = Latents::from(values.cast(FloatDType::F16));
    assert_eq!(all.lengths().unwrap(), [2, 2]);
    assert_eq!(all.real_values().unwrap().concat(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
}

#[test]
fn long_texts_are_cut() {
    let autoencoder = autoencoder(&Device::default());
    let long = "the river rose ".repeat(40);
    let latents = autoencoder.encode_texts(&[&long]).unwrap();
    assert_eq!(latents.values.dims(), [1, MAX_TOKENS, 32]);
    let longer = autoencoder.encode_texts(&[&format!("{long}and more")]).unwrap();
    assert_eq!(distance(latents.values, longer.values), 0.0);
}

#[test]
fn a_saved_autoencoder_comes_back_the_same() {
    let device = Device::default();
    let autoencoder = autoencoder(&device);
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("autoencoder.safetensors");
    fs::write(&weights, "those of another autoencoder").unwrap();
    autoencoder.save(folder.path(), FloatDType::F32).unwrap();
    assert!(!weights.exists());
    let text = fs::read_to_string(folder.path().join("autoencoder.json")).unwrap();
    let written: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(written, json!({"kind": "encoder", "dim_lm": 32, "max_tokens": MAX_TOKENS}));

    let loaded = LanguageAutoencoder::load(folder.path(), &device).unwrap();
    assert_eq!(loaded.config(), autoencoder.config());
    let latents = autoencoder.encode_texts(&TEXTS).unwrap();
    let found = loaded.encode_texts(&TEXTS).unwrap();
    assert_eq!(found.lengths().unwrap(), latents.lengths().unwrap());
    assert_eq!(distance(found.values, latents.values), 0.0);
}

#[test]
fn a_copy_in_half_precision_encodes_and_decodes() {
    let device = Device::default();
    let autoencoder = autoencoder(&device);
    let whole = autoencoder.encode_texts(&TEXTS).unwrap();
    let half = autoencoder.cast(FloatDType::F16);
    let latents = half.encode_texts(&TEXTS).unwrap();
    assert_eq!(latents.values.dtype(), burn::tensor::DType::F16);
    assert!(distance(latents.values.cast(FloatDType::F32), whole.values.clone()) < 0.05);
    // Latents of a diffusion are f32.
    let (states, _) = half.decoder_states(whole.clone());
    assert_eq!(states.dtype(), burn::tensor::DType::F16);
    assert_eq!(half.decode_latents(whole, &generation(), &[0; 3]).unwrap().len(), 3);
}

#[test]
fn settings_name_their_kind() {
    let read = |text: serde_json::Value| serde_json::from_value::<AutoencoderConfig>(text);
    let perceiver = AutoencoderConfig::from(PerceiverConfig::default());
    for older in [json!({}), json!({"kind": "perceiver"}), json!({"latents": 32})] {
        assert_eq!(read(older).unwrap(), perceiver);
    }
    let written = serde_json::to_value(&perceiver).unwrap();
    assert_eq!(written, serde_json::to_value(PerceiverConfig::default()).unwrap());
    let encoder = AutoencoderConfig::from(config());
    assert_eq!(read(serde_json::to_value(&encoder).unwrap()).unwrap(), encoder);
    let defaults = AutoencoderConfig::from(EncoderLatentsConfig::default());
    assert_eq!(read(json!({"kind": "encoder"})).unwrap(), defaults);
    for (wrong, expected) in [
        (json!({"kind": "decoder"}), "unknown variant `decoder`"),
        (json!({"kind": "encoder", "latents": 4}), "unknown field `latents`"),
        (json!({"laTents": 4}), "unknown field `laTents`"),
        (json!({"kind": 3}), "invalid type"),
        (json!("encoder"), "invalid type"),
    ] {
        let message = read(wrong).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn settings_that_do_not_fit_the_language_model_are_refused_by_name() {
    let device = Device::default();
    for (config, expected) in [
        (EncoderLatentsConfig { dim_lm: 64, ..config() }, "dim_lm"),
        (EncoderLatentsConfig { max_tokens: 33, ..config() }, "max_tokens"),
        (EncoderLatentsConfig { max_tokens: 0, ..config() }, "max_tokens"),
    ] {
        let space = LatentSpace::Encoder { config };
        let refused = LanguageAutoencoder::new(language_model(&device), space).err();
        assert!(matches!(refused, Some(AutoencoderError::Setting { setting, .. })
            if setting == expected));
    }
}
