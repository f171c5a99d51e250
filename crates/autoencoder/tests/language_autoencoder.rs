//! Texts to latents and back through a small language model with fresh weights, and its files.

use std::fs;
use std::path::Path;

use burn::tensor::{Device, FloatDType};
use latent_text_autoencoder::{
    AutoencoderError, LanguageAutoencoder, LatentSpace, PerceiverConfig,
};
use latent_text_language_model::{BartConfig, GenerationConfig, LanguageModel};
use latent_text_testing::{distance, tiny_bart};

const TEXTS: [&str; 3] = [
    "A cat sat on the mat.",
    "It rained all day, and the river rose until the bridge was gone.",
    "No.",
];

fn config() -> PerceiverConfig {
    PerceiverConfig {
        dim_lm: 32,
        latents: 4,
        latent_dim: 8,
        layers: 2,
        head_dim: 16,
        max_tokens: 24,
        ..Default::default()
    }
}

fn language_model(device: &Device) -> LanguageModel {
    // Larger than usual, so that logits of a fresh model are far enough apart to be told.
    let config = BartConfig { init_std: 0.3, ..tiny_bart(32, 32) };
    latent_text_testing::language_model(TEXTS, 280, config, device)
}

fn autoencoder(device: &Device) -> LanguageAutoencoder {
    let space = LatentSpace::Perceiver { perceiver: config().init(device), config: config() };
    LanguageAutoencoder::new(language_model(device), space).unwrap()
}

fn generation() -> GenerationConfig {
    GenerationConfig { max_length: 12, ..Default::default() }
}

#[test]
fn a_texts_latents_do_not_depend_on_its_batch() {
    let autoencoder = autoencoder(&Device::default());
    let together = autoencoder.encode_texts(&TEXTS).unwrap().values;
    assert_eq!(together.dims(), [3, 4, 8]);
    for (row, text) in TEXTS.into_iter().enumerate() {
        let alone = autoencoder.encode_texts(&[text]).unwrap().values;
        let error = distance(alone, together.clone().slice(row..row + 1));
        assert!(error < 2e-5, "{text}: {error}");
    }
    let cats = together.clone().slice(0..1);
    assert!(distance(cats, together.slice(1..2)) > 0.01);
}

#[test]
fn texts_are_cut_at_max_tokens() {
    let autoencoder = autoencoder(&Device::default());
    let long = "on the mat ".repeat(40);
    let longer = format!("{long}and away");
    let latents = |text: &str| autoencoder.encode_texts(&[text]).unwrap().values;
    assert_eq!(distance(latents(&long), latents(&longer)), 0.0);
    assert!(matches!(autoencoder.encode_texts(&[]), Err(AutoencoderError::NoTexts)));
}

#[test]
fn latents_become_what_the_decoder_makes_of_their_reconstruction() {
    let autoencoder = autoencoder(&Device::default());
    let latents = autoencoder.encode_texts(&TEXTS).unwrap().values;
    let texts = autoencoder.decode_latents(latents.clone(), &generation(), &[0, 1, 2]).unwrap();
    let (states, mask) = autoencoder.decoder_states(latents.clone().into());
    assert!(mask.is_none());
    let language_model = &autoencoder.language_model;
    let written = language_model.model.generate(states, None, &generation(), &[0, 1, 2]).unwrap();
    let expected: Vec<String> =
        written.iter().map(|text| language_model.tokenizer.decode(&text.ids).unwrap()).collect();
    assert_eq!(texts, expected);
    let several = GenerationConfig { returns: 2, ..generation() };
    let refused = autoencoder.decode_latents(latents.clone(), &several, &[0, 1, 2]);
    assert!(refused.unwrap_err().to_string().contains("returns"));
    let refused = autoencoder.decode_latents(latents, &generation(), &[0]);
    assert!(matches!(refused, Err(AutoencoderError::LanguageModel(_))));
}

#[test]
fn a_saved_autoencoder_comes_back_the_same() {
    let device = Device::default();
    let autoencoder = autoencoder(&device);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("new");
    autoencoder.save(&folder, FloatDType::F32).unwrap();
    fs::write(folder.join("diffusion.json"), "{}").unwrap();
    for file in ["autoencoder.json", "autoencoder.safetensors", "language_model/config.json"] {
        assert!(folder.join(file).exists(), "{file}");
    }

    let loaded = LanguageAutoencoder::load(&folder, &device).unwrap();
    assert_eq!(loaded.config(), autoencoder.config());
    let latents = autoencoder.encode_texts(&TEXTS).unwrap().values;
    assert_eq!(distance(loaded.encode_texts(&TEXTS).unwrap().values, latents.clone()), 0.0);
    assert_eq!(
        loaded.decode_latents(latents.clone(), &generation(), &[0; 3]).unwrap(),
        autoencoder.decode_latents(latents, &generation(), &[0; 3]).unwrap(),
    );
    loaded.save(&folder, FloatDType::BF16).unwrap();
    assert!(folder.join("diffusion.json").exists());
}

/// The error of loading a good folder after `spoil` has been at it.
fn error_after(spoil: impl FnOnce(&Path)) -> AutoencoderError {
    let device = Device::default();
    let folder = tempfile::tempdir().unwrap();
    autoencoder(&device).save(folder.path(), FloatDType::F32).unwrap();
    spoil(folder.path());
    match LanguageAutoencoder::load(folder.path(), &device) {
        Err(error) => error,
        Ok(_) => panic!("a spoilt folder was loaded"),
    }
}

fn write_config(folder: &Path, config: PerceiverConfig) {
    let text = serde_json::to_string(&config).unwrap();
    fs::write(folder.join("autoencoder.json"), text).unwrap();
}

#[test]
fn spoilt_folders_are_refused_with_the_reason() {
    let missing = error_after(|folder| fs::remove_file(folder.join("autoencoder.json")).unwrap());
    assert!(matches!(&missing, AutoencoderError::Read { path, .. }
        if path.ends_with("autoencoder.json")));
    let damaged = error_after(|folder| {
        fs::write(folder.join("autoencoder.json"), r#"{"latents": "many"}"#).unwrap()
    });
    assert!(matches!(damaged, AutoencoderError::Settings { .. }));
    let no_weights =
        error_after(|folder| fs::remove_file(folder.join("autoencoder.safetensors")).unwrap());
    assert!(matches!(no_weights, AutoencoderError::Weights(_)));
    let no_model = error_after(|folder| fs::remove_dir_all(folder.join("language_model")).unwrap());
    assert!(matches!(no_model, AutoencoderError::LanguageModel(_)));
    let other_layers =
        error_after(|folder| write_config(folder, PerceiverConfig { layers: 3, ..config() }));
    assert!(matches!(&other_layers, AutoencoderError::Weights(_)));
    assert!(other_layers.to_string().contains("compression.layers.2"), "{other_layers}");
}

#[test]
fn settings_that_do_not_fit_the_language_model_are_refused_by_name() {
    for (config, expected) in [
        (PerceiverConfig { dim_lm: 64, ..config() }, "dim_lm"),
        (PerceiverConfig { max_tokens: 33, ..config() }, "max_tokens"),
        (PerceiverConfig { head_dim: 5, ..config() }, "dim_lm"),
    ] {
        let device = Device::default();
        let unused = PerceiverConfig::default().init(&device);
        let space = LatentSpace::Perceiver { perceiver: unused, config: config.clone() };
        let refused = LanguageAutoencoder::new(language_model(&device), space).err();
        assert!(matches!(refused, Some(AutoencoderError::Setting { setting, .. })
            if setting == expected));
        match error_after(|folder| write_config(folder, config)) {
            AutoencoderError::Setting { setting, .. } => assert_eq!(setting, expected),
            other => panic!("{other}"),
        }
    }
}
