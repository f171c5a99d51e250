//! What a request promises, on a tiny model with random parameters.

mod common;

use std::collections::HashSet;
use std::ops::ControlFlow;

use burn::tensor::TensorData;
use latent_text_autoencoder::LatentNorm;
use latent_text_diffusion::{DiffusionError, SamplerKind};
use latent_text_generation::{Generated, GenerationError, LatentText, Request};
use latent_text_language_model::{Decoding, GenerationConfig};

fn generate(model: &LatentText, request: &Request) -> Vec<Generated> {
    model.generate(request, |_| ControlFlow::Continue(())).unwrap()
}

fn texts(model: &LatentText, request: &Request) -> Vec<String> {
    generate(model, request).into_iter().map(|generated| generated.text).collect()
}

/// The sampled latents of every text, as the last step reports them.
fn latents(model: &LatentText, request: &Request) -> Vec<f32> {
    let mut values = Vec::new();
    let generated = model.generate(request, |preview| {
        if preview.step == preview.steps {
            values.extend(preview.x0.values.to_data().iter::<f32>());
        }
        ControlFlow::Continue(())
    });
    generated.unwrap();
    values
}

#[test]
fn a_model_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<LatentText>();
}

#[test]
fn a_seed_decides_the_texts() {
    let model = common::conditional();
    let request = Request { count: 6, seed: 5, ..Request::default() };
    let first = texts(&model, &request);
    assert_eq!(texts(&model, &request), first);
    assert_ne!(texts(&model, &Request { seed: 6, ..request }), first);
    assert!(first.iter().collect::<HashSet<_>>().len() >= 3, "{first:?}");
}

#[test]
fn texts_do_not_depend_on_count_or_batch_size() {
    let model = common::conditional();
    let all = Request { count: 7, seed: 3, ..Request::default() };
    let expected = texts(&model, &all);
    for (count, batch_size) in [(1, 32), (3, 32), (7, 1), (7, 2), (7, 7)] {
        let request = Request { count, batch_size, ..all.clone() };
        assert_eq!(texts(&model, &request), expected[..count], "{count} by {batch_size}");
    }
}

#[test]
fn drawn_tokens_do_not_depend_on_count_or_batch_size() {
    let model = common::conditional();
    let nucleus = GenerationConfig {
        decoding: Decoding::nucleus(0.95, 1.5),
        ..model.config.decoding.clone()
    };
    let all = Request { count: 5, seed: 3, decoding: Some(nucleus), ..Request::default() };
    let expected = texts(&model, &all);
    assert_ne!(expected, texts(&model, &Request { decoding: None, ..all.clone() }));
    for (count, batch_size) in [(2, 32), (5, 2)] {
        let request = Request { count, batch_size, ..all.clone() };
        assert_eq!(texts(&model, &request), expected[..count], "{count} by {batch_size}");
    }
}

#[test]
fn latents_do_not_depend_on_the_batch() {
    let model = common::conditional();
    let together = Request { count: 5, seed: 9, ..Request::default() };
    let expected = latents(&model, &together);
    let alone = latents(&model, &Request { batch_size: 1, ..together });
    assert_eq!(alone.len(), expected.len());
    for (index, (alone, expected)) in alone.iter().zip(&expected).enumerate() {
        assert!((alone - expected).abs() <= 1e-4, "value {index}: {alone} and {expected}");
    }
}

#[test]
fn labels_are_taken_in_turn() {
    let model = common::conditional();
    let request = |labels: &[&str]| Request {
        count: 5,
        labels: labels.iter().map(|label| label.to_string()).collect(),
        ..Request::default()
    };
    let mixed = generate(&model, &Request { batch_size: 3, ..request(&["inn", "pub"]) });
    let labels: Vec<_> = mixed.iter().map(|text| text.label.as_deref().unwrap()).collect();
    assert_eq!(labels, ["inn", "pub", "inn", "pub", "inn"]);

    let (inns, pubs) = (generate(&model, &request(&["inn"])), generate(&model, &request(&["pub"])));
    for (index, text) in mixed.iter().enumerate() {
        let same = if index % 2 == 0 { &inns[index] } else { &pubs[index] };
        assert_eq!(text, same);
    }
    let unlabelled = generate(&model, &request(&[]));
    assert!(unlabelled.iter().all(|text| text.label.is_none()));
    let texts = |generated: &[Generated]| -> Vec<String> {
        generated.iter().map(|text| text.text.clone()).collect()
    };
    assert_ne!(texts(&inns), texts(&pubs), "the class has no effect");
    assert_ne!(texts(&inns), texts(&unlabelled), "the null class is not one of its own");
}

#[test]
fn a_text_says_where_it_comes_from() {
    let model = common::conditional();
    let labels = vec!["cafe".to_string()];
    let generated = generate(&model, &Request { count: 3, seed: 8, labels, ..Request::default() });
    assert_eq!(generated.iter().map(|text| text.index).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(generated.iter().all(|text| text.seed == 8));

    let json: serde_json::Value = serde_json::to_value(&generated[1]).unwrap();
    let expected = serde_json::json!({
        "index": 1, "text": generated[1].text, "label": "cafe", "seed": 8,
    });
    assert_eq!(json, expected);
}

#[test]
fn no_texts_can_be_asked_for() {
    assert_eq!(generate(&common::unconditional(), &Request { count: 0, ..Request::default() }), []);
}

#[test]
fn the_request_overrides_the_models_settings() {
    let model = common::conditional();
    let usual = Request { count: 4, ..Request::default() };
    let same = Request {
        steps: Some(6),
        sampler: Some(SamplerKind::Ddpm),
        rescale_x0: Some(false),
        ..usual.clone()
    };
    let expected = latents(&model, &usual);
    assert_eq!(latents(&model, &same), expected);
    for other in [
        Request { steps: Some(3), ..usual.clone() },
        Request { sampler: Some(SamplerKind::Ddim), ..usual.clone() },
        Request { rescale_x0: Some(true), ..usual.clone() },
    ] {
        assert_ne!(latents(&model, &other), expected, "{other:?}");
    }
}

#[test]
fn the_callback_sees_every_step_of_every_batch() {
    let model = common::conditional();
    let request = Request { count: 3, batch_size: 2, steps: Some(3), ..Request::default() };
    let mut seen = Vec::new();
    let generated = model.generate(&request, |preview| {
        assert_eq!(preview.x0.values.dims(), [preview.texts, 4, common::LATENT_DIM]);
        seen.push((preview.first, preview.texts, preview.step, preview.steps));
        ControlFlow::Continue(())
    });
    generated.unwrap();
    let (first, second) = ([(0, 2, 1, 3), (0, 2, 2, 3), (0, 2, 3, 3)], (2, 1, 1, 3));
    assert_eq!(seen, [&first[..], &[second, (2, 1, 2, 3), (2, 1, 3, 3)]].concat());
}

#[test]
fn the_callback_can_stop_the_generation() {
    let model = common::conditional();
    let stopped = model.generate(&Request::default(), |preview| {
        if preview.step == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    match stopped {
        Err(GenerationError::Diffusion(DiffusionError::Stopped { step: 2, steps: 6 })) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_generation_without_end_can_be_stopped() {
    let request = Request { count: usize::MAX, batch_size: 2, ..Request::default() };
    let mut last = 0;
    let stopped = common::conditional().generate(&request, |preview| {
        last = preview.first + preview.texts;
        if last > 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(stopped, Err(GenerationError::Diffusion(DiffusionError::Stopped { .. }))));
    assert_eq!(last, 6);
}

#[test]
fn the_last_estimate_is_what_is_decoded() {
    for norm in [LatentNorm::L2, LatentNorm::None] {
        let model = common::model(None, norm);
        let request = Request { count: 2, ..Request::default() };
        let mut decoded = Vec::new();
        let generated = model.generate(&request, |preview| {
            if preview.step == preview.steps {
                decoded =
                    model.decode(preview.x0.clone(), &model.config.decoding, &[0, 0]).unwrap();
            }
            ControlFlow::Continue(())
        });
        let texts: Vec<_> = generated.unwrap().into_iter().map(|text| text.text).collect();
        assert_eq!(decoded, texts, "{norm:?}");
    }
}

#[test]
fn only_free_latents_are_denormalised() {
    let x0 = |model: &LatentText| {
        let values: Vec<f32> = (0..4 * common::LATENT_DIM).map(|i| (i as f32).sin()).collect();
        let data = TensorData::new(values, [1, 4, common::LATENT_DIM]);
        burn::tensor::Tensor::<3>::from_data(data, model.device())
    };
    let by_hand = |model: &LatentText, latents| {
        model.autoencoder.decode_latents(latents, &model.config.decoding, &[0]).unwrap()
    };
    let free = common::model(None, LatentNorm::None);
    let decoded = free.decode(x0(&free), &free.config.decoding, &[0]).unwrap();
    assert_eq!(decoded, by_hand(&free, x0(&free) * 2.0 + 3.0));
    assert_ne!(decoded, by_hand(&free, x0(&free)), "the statistics have no effect on the text");

    let normalised = common::unconditional();
    let decoded = normalised.decode(x0(&normalised), &normalised.config.decoding, &[0]).unwrap();
    assert_eq!(decoded, by_hand(&normalised, x0(&normalised)));
}

#[test]
fn senseless_requests_are_errors() {
    let model = common::conditional();
    let refused = |request: Request| {
        model.generate(&request, |_| ControlFlow::Continue(())).unwrap_err().to_string()
    };
    for steps in [0, usize::MAX] {
        let message = refused(Request { steps: Some(steps), ..Request::default() });
        assert!(message.contains(&format!("steps is {steps}")), "{message}");
    }
    for batch_size in [0, usize::MAX] {
        let message = refused(Request { batch_size, ..Request::default() });
        assert!(message.contains(&format!("batch_size is {batch_size}")), "{message}");
    }
    let decoding = GenerationConfig { max_length: 17, ..GenerationConfig::default() };
    let message = refused(Request { decoding: Some(decoding), ..Request::default() });
    assert!(message.contains("max_length"), "{message}");
}

#[test]
fn unknown_labels_are_errors_that_list_the_known_ones() {
    let request = Request { labels: vec!["bar".into()], count: 0, ..Request::default() };
    let refused =
        |model: &LatentText| model.generate(&request, |_| ControlFlow::Continue(())).unwrap_err();
    let error = refused(&common::conditional());
    assert!(matches!(error, GenerationError::Label(_)), "{error:?}");
    let message = error.to_string();
    assert!(["bar", "pub", "cafe", "inn"].iter().all(|label| message.contains(label)), "{message}");

    let error = refused(&common::unconditional());
    assert!(matches!(error, GenerationError::NotConditional(_)), "{error:?}");
}

#[test]
fn reconstruction_is_encoding_and_decoding() {
    let model = common::conditional();
    let long = "The Vaults is a cheap pub near the river. ".repeat(20);
    let lines = ["The Mill is a cafe.", "", &long, "\u{1F37A} \u{e9}"];
    let texts = model.reconstruct(&lines).unwrap();
    assert_eq!(texts.len(), 4);

    let latents = model.encode(&lines).unwrap();
    assert_eq!(latents.values.dims(), [4, 4, common::LATENT_DIM]);
    assert_eq!(model.decode(latents, &model.config.decoding, &[0; 4]).unwrap(), texts);
    for (line, text) in lines.iter().zip(&texts) {
        assert_eq!(&model.reconstruct(&[line]).unwrap()[0], text, "{line:?} alone");
    }
}
