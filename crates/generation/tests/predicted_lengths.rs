//! Lengths that a predictor draws from the conditions.

mod common;

use std::fs;
use std::ops::ControlFlow;

use burn::tensor::{Device, FloatDType};
use latent_text_conditioning::{ClassLabels, LengthPredictor, LengthPredictorConfig};
use latent_text_generation::{
    Generated, GenerationError, LENGTH_PREDICTOR_FILE, LatentText, Lengths, Request,
};

use common::MAX_TOKENS;

fn config(source_dim: Option<usize>, classes: Option<usize>) -> LengthPredictorConfig {
    LengthPredictorConfig { source_dim, classes, hidden: 8, max_length: MAX_TOKENS }
}

/// One with random parameters, whose predictions depend much on the condition.
fn predictor(config: &LengthPredictorConfig) -> LengthPredictor {
    common::randomised(config.init(&Device::default()))
}

fn conditional() -> LatentText {
    common::encoder_space(Some(ClassLabels::new(common::LABELS).unwrap()))
}

fn for_classes() -> LatentText {
    let config = config(None, Some(3));
    let predictor = predictor(&config);
    conditional().with_length_predictor(config, predictor).unwrap()
}

fn for_sources() -> LatentText {
    let config = config(Some(24), None);
    let predictor = predictor(&config);
    common::bart_diffusion().with_length_predictor(config, predictor).unwrap()
}

fn generate(model: &LatentText, request: &Request) -> Vec<Generated> {
    model.generate(request, |_| ControlFlow::Continue(())).unwrap()
}

fn lengths(model: &LatentText, request: &Request) -> Vec<usize> {
    generate(model, request).iter().map(|text| text.length.unwrap()).collect()
}

fn many(labels: &[&str], sources: &[&str]) -> Request {
    let strings = |texts: &[&str]| texts.iter().map(|text| text.to_string()).collect();
    Request {
        count: 300,
        seed: 5,
        labels: strings(labels),
        sources: strings(sources),
        steps: Some(1),
        batch_size: 100,
        ..Request::default()
    }
}

/// How often each length occurs where it has this probability is within four deviations of that.
#[track_caller]
fn assert_drawn_from(lengths: &[usize], probabilities: &[f32]) {
    let texts = lengths.len() as f64;
    for (place, &probability) in probabilities.iter().enumerate() {
        let probability = f64::from(probability);
        let found = lengths.iter().filter(|length| **length == place + 1).count() as f64;
        let deviation = (texts * probability * (1.0 - probability)).sqrt();
        let error = (found - texts * probability).abs();
        assert!(error <= 4.0 * deviation + 1.0, "{}: {found} of {texts}", place + 1);
    }
}

fn softmax(logits: burn::tensor::Tensor<2>) -> Vec<f32> {
    burn::tensor::activation::softmax(logits, 1).to_data().iter::<f32>().collect()
}

#[test]
fn classes_have_lengths_of_their_own() {
    let model = for_classes();
    let labels = model.config.labels.clone().unwrap();
    let predictor = predictor(&config(None, Some(3)));
    let probabilities = |class| softmax(predictor.forward(None, Some(class)));
    let device = model.device();
    for name in common::LABELS {
        let class = labels.tensor(&[labels.index_of(name).unwrap()], device);
        assert_drawn_from(&lengths(&model, &many(&[name], &[])), &probabilities(class));
    }
    let null = probabilities(labels.tensor(&[labels.null()], device));
    assert_drawn_from(&lengths(&model, &many(&[], &[])), &null);

    let mixed = lengths(&model, &many(&["pub", "inn"], &[]));
    let inns = lengths(&model, &many(&["inn"], &[]));
    let odd =
        |lengths: &[usize]| -> Vec<usize> { lengths.iter().copied().skip(1).step_by(2).collect() };
    assert_eq!(odd(&mixed), odd(&inns));
    assert_ne!(mixed, inns);
}

#[test]
fn sources_have_lengths_of_their_own() {
    let model = for_sources();
    let predictor = predictor(&config(Some(24), None));
    let sources = ["ba du", "kika momu late si"];
    let of = |source: &str| lengths(&model, &many(&[], &[source]));
    for source in sources {
        let (states, mask) = model.source_reader().unwrap().read(&[source]).unwrap();
        assert_drawn_from(&of(source), &softmax(predictor.forward(Some((&states, &mask)), None)));
    }
    let mixed = lengths(&model, &many(&[], &sources));
    let parts = sources.map(of);
    for (index, length) in mixed.iter().enumerate() {
        assert_eq!(*length, parts[index % 2][index]);
    }
    let few = Request { count: 7, batch_size: 2, ..many(&[], &sources) };
    assert_eq!(lengths(&model, &few), mixed[..7]);
}

#[test]
fn a_predictor_is_used_unless_the_request_says_otherwise() {
    let model = for_classes();
    let usual = many(&["cafe"], &[]);
    let with = |lengths| Request { lengths: Some(lengths), ..usual.clone() };
    assert_eq!(lengths(&model, &usual), lengths(&model, &with(Lengths::Predicted)));
    let drawn = lengths(&model, &with(Lengths::Drawn));
    assert_ne!(drawn, lengths(&model, &usual));
    assert_eq!(drawn, lengths(&conditional(), &usual));
    assert_eq!(lengths(&model, &with(Lengths::Given(vec![4])))[..2], [4, 4]);
}

#[test]
fn lengths_that_nothing_predicts_are_refused() {
    let refused = |model: &LatentText, request: &Request| {
        let error = model.generate(request, |_| ControlFlow::Continue(())).unwrap_err();
        assert!(matches!(error, GenerationError::NoPredictedLengths(_)), "{error:?}");
        error.to_string()
    };
    let request = Request { lengths: Some(Lengths::Predicted), ..Request::default() };
    let message = refused(&conditional(), &request);
    assert!(message.contains("has no predictor") && message.contains("drawn"), "{message}");
    let alone = Request { without_source: true, ..Request::default() };
    let predicted = Request { lengths: Some(Lengths::Predicted), ..alone.clone() };
    let message = refused(&for_sources(), &predicted);
    assert!(message.contains("from sources"), "{message}");
    let drawn = Request { lengths: Some(Lengths::Drawn), ..alone.clone() };
    assert_eq!(lengths(&for_sources(), &alone), lengths(&for_sources(), &drawn));
}

#[test]
fn folders_hold_the_predictor() {
    for (model, request) in
        [(for_classes(), many(&["pub"], &[])), (for_sources(), many(&[], &["ba du"]))]
    {
        let folder = tempfile::tempdir().unwrap();
        model.save(folder.path(), FloatDType::F16).unwrap();
        let loaded = LatentText::load(folder.path(), &Device::default()).unwrap();
        assert_eq!(loaded.config, model.config);
        assert_eq!(lengths(&loaded, &request), lengths(&model, &request));

        fs::remove_file(folder.path().join(LENGTH_PREDICTOR_FILE)).unwrap();
        let error = LatentText::load(folder.path(), &Device::default()).err().unwrap();
        assert!(matches!(error, GenerationError::NoModel { .. }), "{error:?}");
        assert!(error.to_string().contains(LENGTH_PREDICTOR_FILE), "{error}");
    }
}

#[test]
fn a_predictor_of_another_model_is_refused() {
    let refused = |model: LatentText, config: LengthPredictorConfig| {
        let predictor = config.init(&Device::default());
        match model.with_length_predictor(config, predictor) {
            Err(GenerationError::Inconsistent(problem)) => problem,
            other => panic!("{:?}", other.err()),
        }
    };
    let message = refused(conditional(), config(None, Some(4)));
    assert!(message.contains("4 classes") && message.contains("3 labels"), "{message}");
    let message = refused(common::bart_diffusion(), config(Some(16), None));
    assert!(message.contains("width 16") && message.contains("24"), "{message}");
    let message = refused(conditional(), config(Some(16), Some(3)));
    assert!(message.contains("width 16"), "{message}");
    let long = LengthPredictorConfig { max_length: 17, ..config(None, Some(3)) };
    let message = refused(conditional(), long);
    assert!(message.contains("17") && message.contains("at most 16"), "{message}");
    let message = refused(common::conditional(), config(None, Some(3)));
    assert!(message.contains("as many latents"), "{message}");

    let device = Device::default();
    let mut broken = conditional().config;
    broken.length_predictor = Some(config(None, Some(3)));
    let denoiser = broken.denoiser.init(&device);
    let error = LatentText::new(broken, common::encoder_states(&device), denoiser, &device);
    assert!(matches!(error.err(), Some(GenerationError::Inconsistent(_))));
}
