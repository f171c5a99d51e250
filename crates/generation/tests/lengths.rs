//! Latents in varying number: who decides it, and that padding has no influence.

mod common;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use burn::tensor::{Bool, Tensor, TensorData};
use latent_text_autoencoder::{LatentNorm, Latents};
use latent_text_conditioning::{ClassLabels, ConditioningError, LengthDistribution, Similarity};
use latent_text_denoiser::EncoderSpaceDenoiserConfig;
use latent_text_diffusion::guidance::NoiseInterval;
use latent_text_diffusion::{GuidanceConfig, NoiseScheduleConfig};
use latent_text_generation::{
    Choice, Generated, GenerationError, LatentText, Lengths, ModelConfig, Request,
};
use serde_json::json;

use common::MAX_TOKENS;

const SOURCE: &str = "kika momu";

fn labels() -> ClassLabels {
    ClassLabels::new(common::LABELS).unwrap()
}

/// Both kinds of models, each with the conditions that it has.
fn models() -> [(LatentText, Request); 2] {
    let request = || Request { count: 6, seed: 4, with_latents: true, ..Request::default() };
    [
        (
            common::encoder_space(Some(labels())),
            Request { labels: vec!["cafe".into(), "inn".into()], ..request() },
        ),
        (common::bart_diffusion(), Request { sources: vec![SOURCE.into()], ..request() }),
    ]
}

fn try_generate(model: &LatentText, request: &Request) -> Result<Vec<Generated>, GenerationError> {
    model.generate(request, |_| ControlFlow::Continue(()))
}

fn generate(model: &LatentText, request: &Request) -> Vec<Generated> {
    try_generate(model, request).unwrap()
}

fn values(text: &Generated) -> Vec<f32> {
    text.latents.clone().unwrap().concat()
}

#[track_caller]
fn assert_same(found: &Generated, expected: &Generated, what: &str) {
    let (one, other) = (values(found), values(expected));
    assert_eq!(one.len(), other.len(), "{what}");
    let largest = other.iter().map(|value| value.abs()).fold(0.0, f32::max);
    let error = one.iter().zip(other).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max);
    assert!(error < 2e-5 * largest, "{what}: {error} where values go up to {largest}");
    assert_eq!(found.text, expected.text, "{what}");
    assert_eq!(found.length, expected.length, "{what}");
}

fn given(lengths: &[usize]) -> Option<Lengths> {
    Some(Lengths::Given(lengths.to_vec()))
}

#[test]
fn a_text_does_not_depend_on_the_lengths_of_its_batch() {
    for (model, request) in models() {
        let lengths = [3, 16, 7, 1, 16, 5];
        let request = Request { lengths: given(&lengths), ..request };
        let all = generate(&model, &request);
        for (text, length) in all.iter().zip(lengths) {
            assert_eq!(text.length, Some(length));
            assert_eq!(text.latents.as_ref().unwrap().len(), length);
        }
        for (count, batch_size) in [(6, 1), (6, 2), (3, 32), (5, 4)] {
            let some = generate(&model, &Request { count, batch_size, ..request.clone() });
            assert_eq!(some.len(), count);
            for (text, expected) in some.iter().zip(&all) {
                assert_same(text, expected, &format!("{count} by {batch_size}"));
            }
        }
    }
}

#[test]
fn guidance_does_not_see_padding() {
    let free = || Box::new(GuidanceConfig::ClassifierFree { scale: 3.0 });
    let rescaled = || GuidanceConfig::Rescaled { phi: 0.7, inner: free() };
    for (model, request) in models() {
        let lengths = given(&[3, 16, 7, 3, 1, 5]);
        let unguided = Request { lengths: lengths.clone(), steps: Some(2), ..request.clone() };
        let plain = generate(&model, &unguided);
        for guidance in [
            *free(),
            rescaled(),
            GuidanceConfig::Interval {
                levels: NoiseInterval::Sigma { above: None, up_to: Some(1e3) },
                inner: Box::new(rescaled()),
            },
            GuidanceConfig::ZeroStar { scale: 3.0, zero_steps: 0 },
            GuidanceConfig::AdaptiveProjected {
                scale: 3.0,
                eta: 0.2,
                norm_threshold: Some(2.0),
                momentum: -0.5,
            },
            GuidanceConfig::Rescaled {
                phi: 0.5,
                inner: Box::new(GuidanceConfig::AdaptiveProjected {
                    scale: 3.0,
                    eta: 0.2,
                    norm_threshold: None,
                    momentum: -0.5,
                }),
            },
        ] {
            let request = Request {
                lengths: lengths.clone(),
                guidance: Some(guidance.clone()),
                // Networks of random weights enlarge with every step what rounding leaves.
                steps: Some(2),
                ..request.clone()
            };
            let all = generate(&model, &request);
            let alone = generate(&model, &Request { batch_size: 1, ..request });
            for (text, expected) in all.iter().zip(&alone) {
                assert_same(text, expected, &format!("{guidance:?}"));
            }
            assert_ne!(values(&all[1]), values(&plain[1]), "{guidance:?} has no effect");
        }
    }
}

#[test]
fn lengths_are_drawn_from_those_of_the_training_set() {
    let mut model = common::encoder_space(None);
    model.config.sampling.steps = 1;
    let request = Request { count: 400, seed: 1, batch_size: 64, ..Request::default() };
    let drawn = |request: &Request| -> Vec<usize> {
        generate(&model, request).iter().map(|text| text.length.unwrap()).collect()
    };
    let lengths = drawn(&request);
    assert_eq!(lengths, drawn(&Request { lengths: Some(Lengths::Drawn), ..request.clone() }));
    assert_eq!(lengths[..5], drawn(&Request { count: 5, batch_size: 2, ..request.clone() }));
    assert_ne!(lengths, drawn(&Request { seed: 2, ..request }));

    let mut counts = BTreeMap::new();
    for length in lengths {
        *counts.entry(length).or_insert(0_u32) += 1;
    }
    let distribution = model.config.lengths.as_ref().unwrap();
    for length in 1..=MAX_TOKENS {
        let expected = distribution.probability(length) * 400.0;
        let found = f64::from(counts.get(&length).copied().unwrap_or(0));
        let deviation = (expected * (1.0 - expected / 400.0)).sqrt();
        assert!((found - expected).abs() <= 4.0 * deviation, "{length}: {found} of {expected}");
    }
}

#[test]
fn candidates_have_lengths_of_their_own_unless_these_are_given() {
    let model = common::encoder_space(None);
    let request = Request {
        count: 3,
        seed: 2,
        candidates: 4,
        with_candidates: true,
        with_latents: true,
        ..Request::default()
    };
    let mut seen = Vec::new();
    let generated = model.generate(&request, |preview| {
        if preview.step == preview.steps {
            seen = preview.x0.lengths().unwrap();
        }
        ControlFlow::Continue(())
    });
    let all = generated.unwrap();
    assert_eq!(seen.len(), 12);
    assert!(seen.chunks(4).any(|of_text| of_text.iter().any(|length| *length != of_text[0])));
    for (text, lengths) in all.iter().zip(seen.chunks(4)) {
        assert_eq!(text.length, Some(lengths[0]));
    }
    for (count, candidates, batch_size) in [(3, 2, 2), (2, 4, 32), (3, 1, 32)] {
        let some = generate(&model, &Request { count, candidates, batch_size, ..request.clone() });
        for (text, all) in some.iter().zip(&all) {
            assert_eq!(text.candidates, all.candidates[..candidates], "{count}, {candidates}");
        }
    }
    let chosen = Request { choice: Choice::Mbr(Similarity::Bleu), ..request.clone() };
    for text in generate(&model, &chosen) {
        assert_eq!(Some(text.latents.unwrap().len()), text.length);
        assert!(text.candidates.contains(&text.text));
    }
    let given = Request { lengths: given(&[2, 9]), ..request };
    let generated = model.generate(&given, |preview| {
        assert_eq!(preview.x0.lengths().unwrap(), [2, 2, 2, 2, 9, 9, 9, 9, 2, 2, 2, 2]);
        ControlFlow::Continue(())
    });
    generated.unwrap();
}

#[test]
fn lengths_that_no_text_can_have_are_refused() {
    let model = common::encoder_space(None);
    for length in [0, MAX_TOKENS + 1, usize::MAX] {
        let request = Request { lengths: given(&[4, length]), count: 0, ..Request::default() };
        let error = try_generate(&model, &request).unwrap_err();
        assert!(
            matches!(
                error,
                GenerationError::Conditioning(ConditioningError::LengthRange { index: 1, .. })
            ),
            "{error:?}"
        );
        let message = error.to_string();
        assert!(message.contains(&format!("length {length}; it must lie in 1..=16")), "{message}");
    }
    let request = Request { lengths: given(&[]), ..Request::default() };
    let error = try_generate(&model, &request).unwrap_err();
    assert!(matches!(error, GenerationError::Request(_)), "{error:?}");

    for lengths in [Lengths::Drawn, Lengths::Given(vec![4]), Lengths::Predicted] {
        let request = Request { lengths: Some(lengths), ..Request::default() };
        let error = try_generate(&common::unconditional(), &request).unwrap_err();
        assert!(matches!(error, GenerationError::FixedLength { latents: 4 }), "{error:?}");
    }
}

#[test]
fn latents_that_are_not_l2_normalised_have_no_norm_to_rescale_to() {
    let encoder_space = common::encoder_space(None);
    for model in [&encoder_space, &common::model(None, LatentNorm::None)] {
        let request = Request { rescale_x0: Some(true), ..Request::default() };
        let error = try_generate(model, &request).unwrap_err();
        assert!(matches!(error, GenerationError::Rescale), "{error:?}");
        generate(model, &Request { rescale_x0: Some(false), ..request });
    }
    generate(&common::unconditional(), &Request { rescale_x0: Some(true), ..Request::default() });
}

#[test]
fn encoded_texts_of_different_lengths_can_be_decoded() {
    let model = common::encoder_space(None);
    let texts = ["ba", "kika momu late si", "", "kika momu late si kika momu late si kika momu"];
    let latents = model.encode(&texts).unwrap();
    assert_eq!(latents.values.dims(), [4, MAX_TOKENS, 16]);
    let lengths = latents.lengths().unwrap();
    assert!(lengths[2] < lengths[0] && lengths[0] < lengths[1] && lengths[1] < lengths[3]);
    let decoding = &model.config.decoding;
    let decoded = model.decode(latents.clone(), decoding, &[0; 4]).unwrap();
    assert_eq!(decoded, model.reconstruct(&texts).unwrap());
    for (row, text) in texts.iter().enumerate() {
        let alone = model.encode(&[text]).unwrap();
        assert_eq!(alone.values.dims(), [1, lengths[row], 16]);
        assert_eq!(model.decode(alone, decoding, &[0]).unwrap(), decoded[row..row + 1]);
    }
    // What the decoder sees of padding would change the texts.
    let unmasked = Latents { mask: None, ..latents };
    assert_ne!(model.decode(unmasked, decoding, &[0; 4]).unwrap(), decoded);
}

#[test]
fn the_statistics_are_undone_before_decoding() {
    let model = common::encoder_space(None);
    let request = Request { count: 3, seed: 8, with_latents: true, ..Request::default() };
    for text in generate(&model, &request) {
        let vectors = text.latents.as_ref().unwrap();
        let shape = [1, vectors.len(), 16];
        let x0 = Tensor::<3>::from_data(TensorData::new(vectors.concat(), shape), model.device());
        let decoded = model.decode(x0.clone(), &model.config.decoding, &[0]).unwrap();
        assert_eq!(decoded[0], text.text);
        let states = x0 * 1.5 + 0.5;
        let by_hand = model.autoencoder.decode_latents(states, &model.config.decoding, &[0]);
        assert_eq!(by_hand.unwrap(), decoded);
    }
}

#[test]
fn the_likelihood_does_not_see_padding() {
    let model = common::encoder_space(None);
    let texts =
        ["ba", "kika momu late si", "", "lo", "fifa mo", "du", "li", "mo", "kubadu lomo li"];
    let together = model.log_likelihoods(model.encode(&texts).unwrap(), &texts).unwrap();
    for (text, together) in texts.iter().zip(&together) {
        let alone = model.log_likelihoods(model.encode(&[text]).unwrap(), &[text]).unwrap()[0];
        assert!((alone - together).abs() < 1e-4, "{text:?}: {alone} and {together}");
    }
    let request = Request {
        count: 4,
        candidates: 3,
        choice: Choice::Likelihood,
        with_candidates: true,
        ..Request::default()
    };
    let texts = generate(&model, &request);
    assert!(texts.iter().all(|text| text.score.is_some()));
    for (text, alone) in texts.iter().zip(generate(&model, &Request { batch_size: 1, ..request })) {
        assert_eq!(text.text, alone.text);
        assert!((text.score.unwrap() - alone.score.unwrap()).abs() < 1e-4);
    }
}

#[test]
fn given_latents_are_checked() {
    let model = common::encoder_space(None);
    let latents = |latents: usize, real: Option<Vec<bool>>| {
        let shape = [2, latents];
        Latents {
            values: Tensor::zeros([2, latents, 16], model.device()),
            mask: real.map(|real| {
                Tensor::<2, Bool>::from_data(TensorData::new(real, shape), model.device())
            }),
        }
    };
    let decode = |latents: Latents| model.decode(latents, &model.config.decoding, &[0, 0]);
    let refused = |latents: Latents| match decode(latents) {
        Err(GenerationError::Latents(problem)) => problem,
        other => panic!("{other:?}"),
    };
    decode(latents(3, Some(vec![true, false, false, true, true, true]))).unwrap();
    decode(latents(16, None)).unwrap();
    let message = refused(latents(17, None));
    assert!(message.contains("[texts, up to 16, 16]"), "{message}");
    let hole = refused(latents(3, Some(vec![true, true, true, true, false, true])));
    assert!(hole.contains("mask of text 1"), "{hole}");
    let none = refused(latents(2, Some(vec![false, false, true, false])));
    assert!(none.contains("mask of text 0"), "{none}");
    let narrow = Latents { values: latents(3, None).values, ..latents(2, Some(vec![true; 4])) };
    let message = refused(narrow);
    assert!(message.contains("[2, 2], it must be [2, 3]"), "{message}");

    let mask = Some(vec![true, true, true, false]);
    let broken = |place: usize| {
        let mut values = vec![0.0; 2 * 2 * 16];
        values[place] = f32::NAN;
        let values = Tensor::from_data(TensorData::new(values, [2, 2, 16]), model.device());
        Latents { values, ..latents(2, mask.clone()) }
    };
    assert!(refused(broken(40)).contains("text 1"));
    // In padding it means nothing, and does nothing.
    let expected = decode(latents(2, mask.clone())).unwrap();
    assert_eq!(decode(broken(63)).unwrap(), expected);
    let texts = ["ba", "du"];
    let nats = model.log_likelihoods(broken(63), &texts).unwrap();
    assert_eq!(nats, model.log_likelihoods(latents(2, mask.clone()), &texts).unwrap());

    let fixed = common::unconditional();
    let x0 =
        Latents { mask: latents(4, Some(vec![true; 8])).mask, ..fixed.encode(&texts).unwrap() };
    let refused = fixed.decode(x0, &fixed.config.decoding, &[0, 0]);
    assert!(matches!(refused, Err(GenerationError::Latents(_))), "{refused:?}");
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let config = common::encoder_space(None).config;
    let refused = |config: ModelConfig, encoder_states: bool| {
        let device = burn::tensor::Device::default();
        let autoencoder = match encoder_states {
            true => common::encoder_states(&device),
            false => common::autoencoder(LatentNorm::L2, &device),
        };
        let denoiser = config.denoiser.init(&device);
        match LatentText::new(config, autoencoder, denoiser, &device) {
            Err(GenerationError::Inconsistent(problem)) => problem,
            other => panic!("{:?}", other.err()),
        }
    };
    let message = refused(ModelConfig { lengths: None, ..config.clone() }, true);
    assert!(message.contains("`lengths`"), "{message}");
    let lengths = LengthDistribution::from_counts(vec![1; MAX_TOKENS + 1]).unwrap();
    let message = refused(ModelConfig { lengths: Some(lengths), ..config.clone() }, true);
    assert!(message.contains("up to 17") && message.contains("at most 16"), "{message}");
    let schedule = NoiseScheduleConfig::default();
    let message = refused(ModelConfig { schedule, ..config.clone() }, true);
    assert!(message.contains("`schedule`") && message.contains("`table`"), "{message}");
    let small = EncoderSpaceDenoiserConfig {
        latent_dim: 16,
        max_latents: 15,
        dim: 16,
        head_dim: 8,
        ..EncoderSpaceDenoiserConfig::default()
    };
    let message = refused(ModelConfig { denoiser: small.into(), ..config.clone() }, true);
    assert!(message.contains("16 x 16") && message.contains("up to 15 x 16"), "{message}");
    let fixed = ModelConfig { lengths: config.lengths.clone(), ..common::config(None) };
    let message = refused(fixed, false);
    assert!(message.contains("`lengths`") && message.contains("4 latents"), "{message}");
}

#[test]
fn lengths_of_a_request_are_written_and_read() {
    for (lengths, written) in [
        (None, json!(null)),
        (Some(Lengths::Drawn), json!("drawn")),
        (given(&[3, 5]), json!({"given": [3, 5]})),
        (Some(Lengths::Predicted), json!("predicted")),
    ] {
        let request = Request { lengths, ..Request::default() };
        let json = serde_json::to_value(&request).unwrap();
        assert_eq!(json["lengths"], written);
        assert_eq!(serde_json::from_value::<Request>(json).unwrap(), request);
    }
    let model = common::encoder_space(None);
    let text = &generate(&model, &Request { lengths: given(&[3]), ..Request::default() })[0];
    let json = serde_json::to_value(text).unwrap();
    assert_eq!(json["length"], 3);
    assert_eq!(&serde_json::from_value::<Generated>(json).unwrap(), text);
    let fixed = &generate(&common::unconditional(), &Request::default())[0];
    assert!(serde_json::to_value(fixed).unwrap().get("length").is_none());
}
