//! Guidance of the caller's, on tiny models with random parameters.

mod common;

use std::ops::ControlFlow;

use burn::tensor::{Tensor, TensorData};
use latent_text_conditioning::ClassLabels;
use latent_text_diffusion::guidance::{
    AdaptiveProjected, ClassifierFree, GuidancePair, GuidanceState, Rescaled, ScoreGradient,
};
use latent_text_diffusion::{
    DiffusionError, Guidance, GuidanceConfig, GuidanceContext, NoiseLevel, SampleNoise, SamplerKind,
};
use latent_text_generation::{
    Generated, GenerationError, GuidedRows, LatentText, Lengths, Request, SourceEncoder,
};

fn request() -> Request {
    Request {
        count: 4,
        seed: 9,
        sampler: Some(SamplerKind::Ddim),
        steps: Some(8),
        with_latents: true,
        ..Request::default()
    }
}

fn first_version() -> LatentText {
    common::encoder_space(Some(ClassLabels::new(common::LABELS).unwrap()))
}

fn plain(model: &LatentText, request: &Request) -> Vec<Generated> {
    model.generate(request, |_| ControlFlow::Continue(())).unwrap()
}

fn try_guided<'a, G: Guidance<3> + 'a>(
    model: &LatentText,
    request: &Request,
    wrap: impl FnMut(Box<dyn Guidance<3>>, &GuidedRows) -> G + 'a,
) -> Result<Vec<Generated>, GenerationError> {
    model.generate_with_guidance(request, wrap, |_| ControlFlow::Continue(()))
}

fn guided<'a, G: Guidance<3> + 'a>(
    model: &LatentText,
    request: &Request,
    wrap: impl FnMut(Box<dyn Guidance<3>>, &GuidedRows) -> G + 'a,
) -> Vec<Generated> {
    try_guided(model, request, wrap).unwrap()
}

/// The score `-signal / 2 * |z - target|^2`, row by row towards the target of its text.
fn pull(
    inner: Box<dyn Guidance<3>>,
    weight: f64,
    rows: &GuidedRows,
    target: &dyn Fn(usize) -> Tensor<3>,
) -> ScoreGradient<Box<dyn Guidance<3>>, impl Fn(&GuidanceContext<3>) -> Tensor<3> + use<>> {
    ScoreGradient { inner, weight, gradient: towards(rows, target) }
}

/// The score's gradient with respect to `z`.
fn towards(
    rows: &GuidedRows,
    target: &dyn Fn(usize) -> Tensor<3>,
) -> impl Fn(&GuidanceContext<3>) -> Tensor<3> + use<> {
    let targets = rows.texts.iter().map(|&text| target(text).narrow(1, 0, rows.latents));
    let targets: Tensor<3> = Tensor::cat(targets.collect(), 0);
    move |at| (targets.clone() - at.z.clone()) * at.level.signal()
}

/// A target of its own for each text, of norms as latents have.
fn target(model: &LatentText, text: usize) -> Tensor<3> {
    let shape = [1, model.autoencoder.max_latents(), model.autoencoder.latent_dim()];
    SampleNoise::new(77, [text as u64]).normal(shape, model.device())
}

fn values(text: &Generated) -> Vec<f32> {
    text.latents.clone().unwrap().concat()
}

fn distance(text: &Generated, target: &Tensor<3>) -> f64 {
    let target: Vec<f32> = target.to_data().iter::<f32>().collect();
    let squares = values(text).into_iter().zip(target).map(|(one, other)| (one - other).powi(2));
    f64::from(squares.sum::<f32>()).sqrt()
}

#[track_caller]
fn assert_same(found: &[Generated], expected: &[Generated], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        let (one, other) = (values(found), values(expected));
        assert_eq!(one.len(), other.len());
        let largest = other.iter().map(|value| value.abs()).fold(0.0, f32::max);
        let error = one.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(error <= tolerance * largest, "{error} where values go up to {largest}");
    }
}

#[test]
fn a_score_pulls_every_text_to_its_target() {
    let labelled = Request { labels: vec!["pub".into(), "inn".into()], ..request() };
    let mut untrained = first_version();
    // A random one of the first version, which predicts x0, has no measure: a fresh one says zero.
    untrained.denoiser = untrained.config.denoiser.init(untrained.device());
    let lengths = Some(Lengths::Given(vec![16, 3, 7]));
    for (model, request) in [
        (common::unconditional(), request()),
        (common::conditional(), labelled.clone()),
        (untrained, Request { lengths, ..labelled }),
    ] {
        let mean_distance = |weight| {
            let texts = guided(&model, &request, |inner, rows| {
                pull(inner, weight, rows, &|text| target(&model, text))
            });
            let of_text = |text: &Generated| distance(text, &target(&model, text.index));
            texts.iter().map(of_text).sum::<f64>() / texts.len() as f64
        };
        let distances = [0.0, 0.1, 0.3, 0.6, 0.9].map(mean_distance);
        assert!(distances.is_sorted_by(|near, far| near > far), "{distances:?}");
        assert!(mean_distance(-0.1) > distances[0]);
    }
}

#[test]
fn a_weight_of_0_changes_nothing() {
    for (model, request) in [
        (common::unconditional(), request()),
        (first_version(), Request { labels: vec!["cafe".into()], ..request() }),
    ] {
        let texts = guided(&model, &request, |inner, rows| {
            pull(inner, 0.0, rows, &|text| target(&model, text))
        });
        assert_eq!(texts, plain(&model, &request));
    }
}

/// DDIM to the end in one step: from `z` at the noise level of a step there is one prediction.
#[test]
fn the_gradient_is_that_by_the_noised_latents() {
    let model = common::unconditional();
    let request = Request { count: 1, steps: Some(1), ..request() };
    let gradient = |at: &GuidanceContext<3>| {
        Tensor::ones_like(&at.z) * at.level.signal() / at.level.noise().powi(2)
    };
    let texts =
        guided(&model, &request, |inner, _| ScoreGradient { inner, weight: 0.25, gradient });
    // x0 moves by weight * noise^2 / signal times the gradient: by the weight everywhere.
    for (found, before) in values(&texts[0]).into_iter().zip(values(&plain(&model, &request)[0])) {
        assert!((found - before - 0.25).abs() < 1e-3, "{found} {before}");
    }
}

#[test]
fn a_gradient_from_autodiff_does_the_same() {
    let model = common::unconditional();
    let expected = guided(&model, &request(), |inner, rows| {
        pull(inner, 0.5, rows, &|text| target(&model, text))
    });
    let found = guided(&model, &request(), |inner, rows| {
        let targets: Vec<_> = rows.texts.iter().map(|&text| target(&model, text)).collect();
        let targets = Tensor::cat(targets, 0);
        let gradient = move |at: &GuidanceContext<3>| {
            let z = at.z.clone().autodiff().require_grad();
            let squares = (z.clone() - targets.clone().autodiff()).square().sum();
            let score = squares * (-0.5 * at.level.signal());
            z.grad(&score.backward()).unwrap()
        };
        ScoreGradient { inner, weight: 0.5, gradient }
    });
    assert_same(&found, &expected, 1e-4);
}

#[test]
fn it_goes_around_the_requests_guidance() {
    let labels = || vec!["cafe".into(), "pub".into()];
    let sources = vec!["kika momu".into(), "ba du si".into()];
    let scale = |scale| Some(GuidanceConfig::ClassifierFree { scale });
    let for_sources = common::for_sources(SourceEncoder::Own);
    for (model, request) in [
        (common::conditional(), Request { labels: labels(), guidance: scale(2.5), ..request() }),
        (
            for_sources,
            Request { labels: labels(), sources, guidance: scale(2.5), batch_size: 2, ..request() },
        ),
        (first_version(), Request { labels: labels(), guidance: scale(2.5), ..request() }),
    ] {
        let request = Request { steps: Some(3), ..request };
        let usual = plain(&model, &request);
        assert_same(&guided(&model, &request, |inner, _| inner), &usual, 1e-5);
        // The same in place of the request's.
        let unguided = Request { guidance: scale(1.0), ..request.clone() };
        let free = guided(&model, &unguided, |_, _| ClassifierFree { scale: 2.5 });
        assert_same(&free, &usual, 1e-5);
        assert_ne!(values(&plain(&model, &unguided)[0]), values(&usual[0]));
        // None at all.
        let none = guided(&model, &request, |_, _| ClassifierFree { scale: 1.0 });
        assert_same(&none, &plain(&model, &unguided), 1e-5);
    }
}

#[test]
fn autoguidance_stays_with_the_weaker_denoiser() {
    let model = common::conditional();
    let settings = model.config.denoiser.clone();
    let weaker = settings.init(model.device());
    let mut model = model.with_weaker_denoiser(settings, weaker).unwrap();
    let guidance = Some(GuidanceConfig::Autoguidance { scale: 2.0 });
    let request = Request { labels: vec!["inn".into()], guidance, ..request() };
    model.config.null_trained = false;
    let usual = plain(&model, &request);
    assert_eq!(guided(&model, &request, |inner, _| inner), usual);
}

#[test]
fn every_row_is_known_by_its_text() {
    let model = common::conditional();
    let request =
        Request { count: 5, candidates: 3, with_candidates: true, batch_size: 6, ..request() };
    let mut seen = Vec::new();
    guided(&model, &request, |inner, rows| {
        assert_eq!(rows.latents, 4);
        seen.push(rows.texts.clone());
        inner
    });
    let expected: [&[usize]; 3] = [&[0, 0, 0, 1, 1, 1], &[2, 2, 2, 3, 3, 3], &[4, 4, 4]];
    assert_eq!(seen, expected);
}

#[test]
fn it_never_sees_padding() {
    let models = [
        (first_version(), Request { labels: vec!["inn".into(), "pub".into()], ..request() }),
        (common::bart_diffusion(), Request { sources: vec!["kika momu".into()], ..request() }),
    ];
    let lengths = [3, 16, 7, 1, 16, 3];
    for (model, request) in models {
        // Networks of random weights enlarge with every step what rounding leaves.
        let request = Request {
            count: 6,
            steps: Some(3),
            lengths: Some(Lengths::Given(lengths.to_vec())),
            guidance: Some(GuidanceConfig::ClassifierFree { scale: 2.0 }),
            ..request
        };
        let strong = |inner, rows: &GuidedRows| {
            assert!(rows.texts.iter().all(|&text| lengths[text] == rows.latents), "{rows:?}");
            let inner = pull(inner, 0.2, rows, &|text| target(&model, text));
            Rescaled { inner, phi: 0.7 }
        };
        let all = guided(&model, &request, strong);
        let alone = guided(&model, &Request { batch_size: 1, ..request.clone() }, strong);
        assert_same(&all, &alone, 1e-4);
        for (text, length) in all.iter().zip(lengths) {
            assert_eq!(text.latents.as_ref().unwrap().len(), length);
        }
        assert_ne!(values(&all[0]), values(&plain(&model, &request)[0]));
    }
}

#[test]
fn texts_may_be_guided_each_in_its_own_way() {
    let model = first_version();
    let labels = vec!["inn".into(), "pub".into()];
    let lengths = Some(Lengths::Given(vec![2, 9]));
    let request = Request { count: 2, steps: Some(3), labels, lengths, ..request() };
    let projected =
        AdaptiveProjected { scale: 3.0, eta: 0.2, norm_threshold: None, momentum: -0.5 };
    let free = ClassifierFree { scale: 2.0 };
    let both = guided(&model, &request, |_, rows| -> Box<dyn Guidance<3>> {
        match rows.texts[..] {
            [0] => Box::new(projected),
            [1] => Box::new(free),
            _ => panic!("{rows:?}"),
        }
    });
    assert_same(&both[..1], &guided(&model, &request, |_, _| projected)[..1], 1e-5);
    assert_same(&both[1..], &guided(&model, &request, |_, _| free)[1..], 1e-5);
}

/// Answers with something senseless.
#[derive(Debug, Clone, Copy)]
enum Senseless {
    Output,
    Memory,
}

impl Guidance<3> for Senseless {
    fn check(&self) -> Result<(), DiffusionError> {
        Ok(())
    }

    fn needs_unconditional(&self, _: NoiseLevel, _: usize) -> bool {
        false
    }

    fn combine(
        &self,
        predictions: GuidancePair<3>,
        _: &GuidanceContext<3>,
        _: GuidanceState<3>,
    ) -> Result<(Tensor<3>, GuidanceState<3>), DiffusionError> {
        let output = predictions.conditional;
        let less = output.clone().narrow(2, 0, 1);
        Ok(match self {
            Self::Output => (less, GuidanceState::default()),
            Self::Memory => (output, GuidanceState { running: Some(less) }),
        })
    }
}

#[test]
fn senseless_guidance_is_an_error() {
    let padded = Request {
        lengths: Some(Lengths::Given(vec![2, 9])),
        labels: vec!["inn".into()],
        ..request()
    };
    for (model, request) in [(common::conditional(), request()), (first_version(), padded)] {
        for senseless in [Senseless::Output, Senseless::Memory] {
            let refused = try_guided(&model, &request, |_, _| senseless);
            let Err(GenerationError::Diffusion(DiffusionError::GuidanceShape { what, .. })) =
                refused
            else {
                panic!("{refused:?}");
            };
            assert_eq!(what == "its prediction", matches!(senseless, Senseless::Output));
        }
        let gradient = |of: fn(&GuidanceContext<3>) -> Tensor<3>, weight| {
            try_guided(&model, &request, |inner, _| ScoreGradient { inner, weight, gradient: of })
        };
        let refused = gradient(|at| at.z.clone().narrow(0, 0, 1).narrow(2, 0, 1), 1.0);
        assert!(
            matches!(
                refused,
                Err(GenerationError::Diffusion(DiffusionError::GuidanceShape { .. }))
            ),
            "{refused:?}"
        );
        let refused = gradient(|at| at.z.clone(), f64::NAN);
        assert!(
            matches!(refused, Err(GenerationError::Diffusion(DiffusionError::Setting { .. }))),
            "{refused:?}"
        );
        let refused = gradient(|at| at.z.clone() * f64::NAN, 1.0);
        assert!(matches!(refused, Err(GenerationError::Misguided { text: 0 })), "{refused:?}");
    }

    let model = common::unconditional();
    let last = TensorData::from([[[0.0f32]], [[0.0]], [[0.0]], [[f32::NAN]]]);
    let last = Tensor::<3>::from_data(last, model.device());
    let refused = try_guided(&model, &request(), |inner, _| {
        let last = last.clone();
        let gradient = move |at: &GuidanceContext<3>| at.z.clone() * last.clone();
        ScoreGradient { inner, weight: 1.0, gradient }
    });
    assert!(matches!(refused, Err(GenerationError::Misguided { text: 3 })), "{refused:?}");
}

#[test]
fn a_second_prediction_needs_conditions_and_training_without_them() {
    let free = |_, _: &GuidedRows| ClassifierFree { scale: 2.0 };
    for (model, known) in [(common::unconditional(), false), (common::conditional(), true)] {
        let refused = try_guided(&model, &request(), free);
        let Err(GenerationError::NothingToGuide { possible }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(possible, known);
    }
    let mut model = common::conditional();
    model.config.null_trained = false;
    let request = Request { labels: vec!["inn".into()], ..request() };
    let refused = try_guided(&model, &request, free);
    assert!(matches!(refused, Err(GenerationError::NullUntrained { .. })), "{refused:?}");
    // A score needs none.
    guided(&model, &request, |inner, rows| pull(inner, 0.5, rows, &|text| target(&model, text)));
}

#[test]
fn it_can_be_watched_and_stopped() {
    let model = common::unconditional();
    let stopped = model.generate_with_guidance(
        &request(),
        |inner, rows| pull(inner, 0.5, rows, &|text| target(&model, text)),
        |preview| match preview.step {
            2 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        },
    );
    assert!(
        matches!(
            stopped,
            Err(GenerationError::Diffusion(DiffusionError::Stopped { step: 2, steps: 8 }))
        ),
        "{stopped:?}"
    );
}
