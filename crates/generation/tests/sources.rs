//! Texts for source texts, on a tiny model with random parameters.

mod common;

use std::fs;
use std::ops::ControlFlow;

use burn::tensor::{Device, FloatDType};
use latent_text_autoencoder::LatentNorm;
use latent_text_conditioning::ConditioningError;
use latent_text_generation::{
    Generated, GenerationError, LatentText, ModelConfig, Request, SOURCE_ENCODER_FOLDER,
    SourceConfig, SourceEncoder,
};

const SOURCES: [&str; 3] = ["ba du", "kika momu late si", "du"];

fn request(sources: &[&str]) -> Request {
    Request {
        count: 5,
        seed: 4,
        sources: sources.iter().map(|source| source.to_string()).collect(),
        with_latents: true,
        ..Request::default()
    }
}

fn try_generate(model: &LatentText, request: &Request) -> Result<Vec<Generated>, GenerationError> {
    model.generate(request, |_| ControlFlow::Continue(()))
}

fn generate(model: &LatentText, request: &Request) -> Vec<Generated> {
    try_generate(model, request).unwrap()
}

/// The largest difference between the latents of two texts.
fn difference(one: &Generated, other: &Generated) -> f32 {
    let values = |text: &Generated| text.latents.clone().unwrap().concat();
    let (one, other) = (values(one), values(other));
    assert_eq!(one.len(), other.len());
    one.iter().zip(other).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max)
}

#[test]
fn sources_are_taken_in_turn() {
    for encoder in [SourceEncoder::Autoencoder, SourceEncoder::Own] {
        let model = common::for_sources(encoder);
        let mixed = generate(&model, &request(&SOURCES));
        let sources: Vec<_> = mixed.iter().map(|text| text.source.as_deref().unwrap()).collect();
        assert_eq!(sources, [SOURCES[0], SOURCES[1], SOURCES[2], SOURCES[0], SOURCES[1]]);
        let alone = SOURCES.map(|source| generate(&model, &request(&[source])));
        for (index, text) in mixed.iter().enumerate() {
            let error = difference(text, &alone[index % 3][index]);
            assert!(error < 1e-4, "{encoder:?}, text {index}: {error}");
            assert_eq!(text.text, alone[index % 3][index].text);
            let other = &alone[(index + 1) % 3][index];
            assert!(difference(text, other) > 1e-2, "the source has no effect");
        }
    }
}

#[test]
fn texts_for_sources_do_not_depend_on_count_or_batch_size() {
    let model = common::for_sources(SourceEncoder::Autoencoder);
    let all = generate(&model, &request(&SOURCES));
    for (count, batch_size) in [(1, 32), (3, 2), (5, 1), (5, 3)] {
        let texts = generate(&model, &Request { count, batch_size, ..request(&SOURCES) });
        assert_eq!(texts.len(), count);
        for (text, expected) in texts.iter().zip(&all) {
            assert!(difference(text, expected) < 1e-4, "{count} by {batch_size}");
            assert_eq!(text.text, expected.text, "{count} by {batch_size}");
        }
    }
}

#[test]
fn sources_and_labels_go_together() {
    let model = common::for_sources(SourceEncoder::Autoencoder);
    let labelled = |labels: &[&str]| {
        let labels = labels.iter().map(|label| label.to_string()).collect();
        generate(&model, &Request { labels, ..request(&SOURCES) })
    };
    let (none, mixed, inns) = (labelled(&[]), labelled(&["pub", "inn"]), labelled(&["inn"]));
    assert_eq!(mixed[3].label.as_deref(), Some("inn"));
    assert_eq!(mixed[3].source.as_deref(), Some(SOURCES[0]));
    assert!(difference(&mixed[3], &inns[3]) < 1e-4);
    assert!(difference(&mixed[2], &inns[2]) > 1e-2, "the label has no effect");
    assert!(difference(&none[3], &inns[3]) > 1e-2, "the null class is not one of its own");
}

#[test]
fn a_model_for_sources_writes_without_one_only_if_told_to() {
    let mut model = common::for_sources(SourceEncoder::Autoencoder);
    let refused = try_generate(&model, &request(&[]));
    assert!(matches!(refused, Err(GenerationError::NoSources)), "{refused:?}");
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("`without_source`"), "{message}");

    let alone = Request { without_source: true, ..request(&[]) };
    let texts = generate(&model, &alone);
    assert!(texts.iter().all(|text| text.source.is_none()));
    assert!(difference(&texts[0], &generate(&model, &request(&SOURCES))[0]) > 1e-2);

    let both = Request { without_source: true, ..request(&SOURCES) };
    let refused = try_generate(&model, &both);
    assert!(matches!(refused, Err(GenerationError::Request(_))), "{refused:?}");

    model.config.null_trained = false;
    let labels = vec!["pub".to_string()];
    let refused = try_generate(&model, &Request { labels: labels.clone(), ..alone });
    assert!(matches!(refused, Err(GenerationError::NullUntrained { .. })), "{refused:?}");
    let refused = try_generate(&model, &request(&SOURCES));
    assert!(matches!(refused, Err(GenerationError::NullUntrained { .. })), "{refused:?}");
    generate(&model, &Request { labels, ..request(&SOURCES) });
}

#[test]
fn a_model_without_sources_refuses_them() {
    let refused = try_generate(&common::conditional(), &request(&SOURCES));
    assert!(matches!(refused, Err(GenerationError::NotForSources)), "{refused:?}");
    // There is nothing to be without.
    let alone = Request { without_source: true, count: 1, ..request(&[]) };
    generate(&common::conditional(), &alone);
}

#[test]
fn an_empty_source_is_refused() {
    let model = common::for_sources(SourceEncoder::Autoencoder);
    for empty in ["", " \t"] {
        let refused = try_generate(&model, &request(&["ba", empty]));
        assert!(matches!(refused, Err(GenerationError::Request(_))), "{refused:?}");
        let message = refused.unwrap_err().to_string();
        assert!(message.contains("source 1") && message.contains("`without_source`"), "{message}");
    }
}

#[test]
fn long_sources_are_refused_unless_they_may_be_cut() {
    let model = common::for_sources(SourceEncoder::Autoencoder);
    let long = "kika ".repeat(40);
    let refused = try_generate(&model, &request(&["ba", &long]));
    match refused {
        Err(GenerationError::Conditioning(ConditioningError::SourceTooLong {
            index: 1,
            tokens,
            most: common::SOURCE_TOKENS,
        })) => assert!(tokens > common::SOURCE_TOKENS),
        other => panic!("{other:?}"),
    }
    let longer = "kika ".repeat(60);
    let cut = |source: &str| {
        generate(&model, &Request { truncate_sources: true, count: 1, ..request(&[source]) })
    };
    assert_eq!(cut(&long)[0].latents, cut(&longer)[0].latents);
    assert_eq!(cut(&long)[0].source.as_deref(), Some(long.as_str()));
}

#[test]
fn folders_hold_what_reads_sources() {
    for (encoder, own) in [(SourceEncoder::Autoencoder, false), (SourceEncoder::Own, true)] {
        let model = common::for_sources(encoder);
        let expected = generate(&model, &request(&SOURCES));
        let folder = tempfile::tempdir().unwrap();
        model.save(folder.path(), FloatDType::F16).unwrap();
        let source_encoder = folder.path().join(SOURCE_ENCODER_FOLDER);
        assert_eq!(source_encoder.exists(), own);
        let loaded = LatentText::load(folder.path(), &Device::default()).unwrap();
        assert_eq!(loaded.config, model.config);
        assert_eq!(generate(&loaded, &request(&SOURCES)), expected);
        if own {
            fs::remove_dir_all(source_encoder).unwrap();
            let message =
                LatentText::load(folder.path(), &Device::default()).err().unwrap().to_string();
            assert!(message.contains("source_encoder is missing"), "{message}");
        }
    }
}

#[test]
fn the_source_encoder_of_an_earlier_model_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let source_encoder = folder.path().join(SOURCE_ENCODER_FOLDER);
    common::for_sources(SourceEncoder::Own).save(folder.path(), FloatDType::F32).unwrap();
    assert!(source_encoder.exists());
    common::for_sources(SourceEncoder::Autoencoder).save(folder.path(), FloatDType::F32).unwrap();
    assert!(!source_encoder.exists());
    LatentText::load(folder.path(), &Device::default()).unwrap();
}

#[test]
fn a_config_says_what_reads_sources() {
    let config = common::for_sources(SourceEncoder::Own).config;
    let json = serde_json::to_value(&config).unwrap();
    assert_eq!(
        json["source"],
        serde_json::json!({"encoder": "own", "max_tokens": common::SOURCE_TOKENS})
    );
    // What older models do not have stays out of the file.
    let json = serde_json::to_value(common::config(None)).unwrap();
    assert!(["source", "null_trained"].iter().all(|key| json.get(key).is_none()), "{json}");
    assert!(json["sampling"].get("guidance").is_none(), "{json}");
    let again: ModelConfig = serde_json::from_value(json).unwrap();
    assert_eq!(again, common::config(None));
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let device = Device::default();
    let own = common::for_sources(SourceEncoder::Own);
    let shared = common::for_sources(SourceEncoder::Autoencoder);
    let refused = |change: &dyn Fn(&mut ModelConfig)| {
        let mut config = shared.config.clone();
        change(&mut config);
        let denoiser = config.denoiser.init(&device);
        let autoencoder = common::autoencoder(LatentNorm::L2, &device);
        LatentText::new(config, autoencoder, denoiser, &device).err().unwrap()
    };
    for (change, expected) in [
        (&(|config: &mut ModelConfig| config.source = None) as &dyn Fn(&mut _), "what reads them"),
        (
            &|config: &mut ModelConfig| common::latent_denoiser(config).source_dim = None,
            "does not attend",
        ),
        (
            &|config: &mut ModelConfig| common::latent_denoiser(config).source_dim = Some(24),
            "width 24",
        ),
        (
            &|config: &mut ModelConfig| config.source = own.config.source.clone(),
            "with_source_encoder",
        ),
    ] {
        let error = refused(change);
        assert!(matches!(error, GenerationError::Inconsistent(_)), "{error:?}");
        let message = error.to_string();
        assert!(message.contains(expected), "{message}");
    }
    let too_long = refused(&|config| {
        let encoder = SourceEncoder::Autoencoder;
        config.source = Some(SourceConfig { encoder, max_tokens: 1000 });
    });
    assert!(matches!(too_long, GenerationError::Conditioning(_)), "{too_long:?}");

    let encoder = own.source_reader().unwrap().language_model().clone();
    let refused = LatentText::with_source_encoder(
        shared.config.clone(),
        common::autoencoder(LatentNorm::L2, &device),
        shared.config.denoiser.init(&device),
        &device,
        encoder,
    );
    assert!(matches!(refused.err(), Some(GenerationError::Inconsistent(_))));
}
