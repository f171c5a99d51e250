//! Models with an autoencoder.

use burn::tensor::{Device, FloatDType, Tensor};
use latent_text_autoencoder::Latents;
use latent_text_denoiser::{Conditions, DenoisingNetworkConfig, SkipRule, Source};
use latent_text_diffusion::{
    GuidanceConfig, NoiseScheduleConfig, Prediction, SamplerKind, ScheduleKind,
};
use latent_text_generation::{LatentText, Request, SourceConfig, SourceEncoder};
use latent_text_language_model::{
    BeamSearch, Decoding, EarlyStopping, GenerationConfig, LanguageModel,
};
use latent_text_reference::{Checkpoint, Part, ReferenceModel};

use crate::support::{Expected, Runs, SOURCE, TEXTS, assert_close, generate, load, written_texts};

/// Latents and decoder states of texts, which the language model's folder has no weights for.
fn assert_autoencoder(model: &LatentText, expected: &Expected) {
    let latents = model.encode(&TEXTS).unwrap();
    assert_close("latents", latents.values, expected.floats("latents"));
    let own: Latents = model.autoencoder.encode_texts(&TEXTS).unwrap();
    let (states, mask) = model.autoencoder.decoder_states(own);
    assert!(mask.is_none());
    assert_close("states", states, expected.floats("states"));
}

/// `transformers` wrote these with the published settings.
fn assert_writes(model: &LatentText, name: &str) {
    let latents = model.encode(&TEXTS).unwrap();
    let texts = model.decode(latents, &model.config.decoding, &[0, 0]).unwrap();
    assert_eq!(texts, written_texts(name));
}

fn published_decoding(max_length: usize, early_stopping: EarlyStopping) -> GenerationConfig {
    GenerationConfig {
        max_length,
        min_length: 5,
        decoding: Decoding::Beam(BeamSearch { beams: 4, early_stopping, ..Default::default() }),
        repetition_penalty: 1.2,
        no_repeat_ngram_size: 3,
        ..Default::default()
    }
}

#[test]
fn a_model_without_conditions_is_the_published_codes() {
    let runs = Runs::new(&["bart", "roc"]);
    std::fs::remove_file(runs.path("bart/model.safetensors")).unwrap();
    let (converted, parts) = load(&runs.model("roc", "roc"));
    assert_eq!(parts, [Part::Denoiser, Part::Autoencoder]);
    assert!(converted.notes.is_empty());
    let (model, expected) = (converted.model, Expected::open("roc"));
    assert_autoencoder(&model, &expected);
    assert_writes(&model, "roc");
    let plain = expected.denoise(&model, Conditions::default());
    assert_close("plain", plain, expected.floats("plain"));
    let whole = expected
        .denoise(&model, Conditions { self_cond: expected.estimate(), ..Default::default() });
    assert_close("whole", whole, expected.floats("whole"));

    let config = &model.config;
    let DenoisingNetworkConfig::Latent(denoiser) = &config.denoiser else { panic!("{config:?}") };
    assert_eq!(denoiser.skips, SkipRule::ReferenceStack);
    assert_eq!((denoiser.depth, denoiser.dense_connections, denoiser.max_latents), (4, 2, 24));
    assert_eq!(denoiser.dropout, 0.1);
    assert_eq!(config.schedule, NoiseScheduleConfig::default());
    assert_eq!(config.prediction, Prediction::V);
    assert!(model.autoencoder.is_l2_normalised());
    assert_eq!((config.sampling.sampler, config.sampling.steps), (SamplerKind::Ddpm, 250));
    assert!(!config.sampling.rescale_x0);
    assert_eq!(config.decoding, published_decoding(64, EarlyStopping::First));
}

#[test]
fn a_model_with_classes_is_the_published_codes() {
    let runs = Runs::new(&["bart", "roc", "ag_news"]);
    let (converted, _) = load(&runs.model("ag_news", "roc"));
    let (model, expected) = (converted.model, Expected::open("ag_news"));
    let plain = expected.denoise(&model, Conditions::default());
    assert_close("plain", plain, expected.floats("plain"));
    let conditions = Conditions {
        self_cond: expected.estimate(),
        classes: Some(Tensor::from_data([2, 0], &Device::default())),
        ..Default::default()
    };
    assert_close("whole", expected.denoise(&model, conditions), expected.floats("whole"));

    let config = &model.config;
    let labels = config.labels.as_ref().unwrap();
    assert_eq!(labels.names(), ["World", "Sports", "Business", "Sci/Tech"]);
    assert_eq!(config.prediction, Prediction::X0);
    assert!(matches!(config.schedule.kind, ScheduleKind::Sigmoid(_)));
    assert_eq!((config.sampling.sampler, config.sampling.steps), (SamplerKind::Ddim, 50));
    assert!(config.null_trained);
    assert_eq!(config.sampling.guidance, GuidanceConfig::default());
}

fn assert_reads_sources(model: &LatentText, expected: &Expected, sources: [&str; 2]) {
    let reader = model.source_reader().unwrap();
    let (alone, _) = reader.read(&sources[..1]).unwrap();
    assert_close("source", alone.squeeze_dim::<2>(0), expected.floats("source"));
    let (states, mask) = reader.read(&sources).unwrap();
    let source = Source { states, mask: Some(mask), present: None };
    let conditions = Conditions {
        self_cond: expected.estimate(),
        source: Some(model.denoiser.read_source(source)),
        ..Default::default()
    };
    assert_close("whole", expected.denoise(model, conditions), expected.floats("whole"));
}

#[test]
fn sources_are_read_by_the_autoencoders_encoder_if_it_is_the_same() {
    let runs = Runs::new(&["bart", "roc", "qqp"]);
    let published = runs.model("qqp", "roc");
    let (converted, parts) = load(&published);
    assert_eq!(parts, [Part::Denoiser, Part::Autoencoder, Part::SourceEncoder]);
    let (model, expected) = (converted.model, Expected::open("qqp"));
    let plain = expected.denoise(&model, Conditions::default());
    assert_close("plain", plain, expected.floats("plain"));
    assert_reads_sources(&model, &expected, [SOURCE, "Why?"]);

    let config = &model.config;
    let source = SourceConfig { encoder: SourceEncoder::Autoencoder, max_tokens: 24 };
    assert_eq!(config.source, Some(source));
    assert!(config.null_trained && config.sampling.rescale_x0);
    assert_eq!(config.sampling.guidance, GuidanceConfig::ClassifierFree { scale: 2.0 });
    assert_eq!(config.decoding, published_decoding(24, EarlyStopping::First));

    let last = ReferenceModel { checkpoint: Checkpoint::Last, ..published };
    let (last, _) = load(&last);
    let plain = expected.denoise(&last.model, Conditions::default());
    assert_close("last", plain, expected.floats("last.plain"));
}

#[test]
fn an_encoder_of_its_own_is_kept_with_the_checkpoints_weights() {
    let runs = Runs::new(&["flan", "bart", "xsum"]);
    let published =
        ReferenceModel { language_model: runs.path("flan"), ..runs.model("xsum", "xsum") };
    let (converted, _) = load(&published);
    let (model, expected) = (converted.model, Expected::open("xsum"));
    assert_autoencoder(&model, &expected);
    assert_writes(&model, "xsum");
    let plain = expected.denoise(&model, Conditions::default());
    assert_close("plain", plain, expected.floats("plain"));
    assert_reads_sources(&model, &expected, [SOURCE, "Why?"]);

    let config = &model.config;
    let source = SourceConfig { encoder: SourceEncoder::Own, max_tokens: 96 };
    assert_eq!(config.source, Some(source));
    assert_eq!(config.schedule.scale, 0.1);
    assert_eq!(config.statistics.scale, 1.75);
    assert_eq!(model.autoencoder.max_tokens(), 24, "not the 48 positions");
    assert_eq!(config.sampling.sampler, SamplerKind::DpmppAsReference);
    assert!(!config.sampling.rescale_x0);
    assert_eq!(config.decoding, published_decoding(24, EarlyStopping::Heuristic));
}

#[test]
fn a_given_encoder_gets_the_checkpoints_weights() {
    let runs = Runs::new(&["flan", "bart", "roc", "qqp", "xsum"]);
    for (name, language_model, autoencoder) in [("xsum", "flan", "xsum"), ("qqp", "bart", "roc")] {
        let published = ReferenceModel {
            language_model: runs.path(language_model),
            ..runs.model(name, autoencoder)
        };
        let LanguageModel { config, tokenizer, .. } =
            load(&published).0.model.autoencoder.language_model;
        let random = LanguageModel::new(config, tokenizer, &Device::default()).unwrap();
        let folder = runs.path("random").join(name);
        random.save(&folder, FloatDType::F32).unwrap();
        runs.edit(&format!("{name}/diffusion"), |arguments| {
            arguments.insert("enc_dec_model".to_string(), "another".into());
        });
        let published = ReferenceModel { source_encoder: Some(folder), ..published };
        let model = load(&published).0.model;
        assert_eq!(model.config.source.as_ref().unwrap().encoder, SourceEncoder::Own);
        assert_reads_sources(&model, &Expected::open(name), [SOURCE, "Why?"]);
    }
}

#[test]
fn a_saved_model_is_the_same_model() {
    let runs = Runs::new(&["flan", "bart", "xsum"]);
    let published =
        ReferenceModel { language_model: runs.path("flan"), ..runs.model("xsum", "xsum") };
    let (converted, _) = load(&published);
    let folder = runs.path("saved");
    converted.model.save(&folder, FloatDType::F32).unwrap();
    let saved = LatentText::load(&folder, &Device::default()).unwrap();
    assert_eq!(saved.config, converted.model.config);
    let expected = Expected::open("xsum");
    assert_autoencoder(&saved, &expected);
    assert_reads_sources(&saved, &expected, [SOURCE, "Why?"]);
    let request = Request {
        count: 2,
        seed: 3,
        sources: vec![SOURCE.to_string(), "Why?".to_string()],
        steps: Some(3),
        ..Request::default()
    };
    assert_eq!(generate(&saved, &request), generate(&converted.model, &request));
}

#[test]
fn how_often_conditions_were_dropped_decides_about_guidance() {
    let runs = Runs::new(&["bart", "roc", "qqp"]);
    let set = |probability: Option<f64>| {
        runs.edit("qqp/diffusion", |arguments| {
            arguments.insert("seq2seq_unconditional_prob".to_string(), probability.into());
        });
        load(&runs.model("qqp", "roc")).0
    };
    let never = set(Some(0.0));
    assert!(!never.model.config.null_trained && never.notes.is_empty());
    assert_eq!(never.model.config.sampling.guidance, GuidanceConfig::default());
    let untold = set(None);
    assert!(untold.model.config.null_trained);
    assert!(untold.notes[0].contains("`seq2seq_unconditional_prob`"), "{:?}", untold.notes);
}

#[test]
fn a_schedule_of_sampling_that_is_another_is_told() {
    let runs = Runs::new(&["bart", "roc"]);
    runs.edit("roc/diffusion", |arguments| {
        arguments.insert("sampling_schedule".to_string(), "simple_linear".into());
    });
    let (converted, _) = load(&runs.model("roc", "roc"));
    assert_eq!(converted.notes.len(), 1);
    assert!(converted.notes[0].contains("`simple_linear`"), "{:?}", converted.notes);
}
