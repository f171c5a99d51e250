//! Models in another dtype than that of their folder.

mod common;

use std::ops::ControlFlow;

use burn::tensor::{DType, Device, FloatDType};
use latent_text_autoencoder::LatentNorm;
use latent_text_conditioning::{ClassLabels, LengthPredictorConfig};
use latent_text_diffusion::GuidanceConfig;
use latent_text_generation::{
    Choice, Generated, GenerationError, LatentText, Request, SourceEncoder,
};
use latent_text_nn::dtype_of;

/// Models that have every part between them.
const MODELS: [fn() -> LatentText; 6] = [
    || with_weaker_denoiser(common::conditional()),
    || common::model(None, LatentNorm::None),
    || common::for_sources(SourceEncoder::Autoencoder),
    || with_weaker_denoiser(common::for_sources(SourceEncoder::Own)),
    || with_length_predictor(common::bart_diffusion()),
    || common::encoder_space(Some(ClassLabels::new(common::LABELS).unwrap())),
];

fn with_weaker_denoiser(model: LatentText) -> LatentText {
    let config = model.config.denoiser.clone();
    let denoiser = common::denoiser(&model.config, model.device());
    model.with_weaker_denoiser(config, denoiser).unwrap()
}

fn with_length_predictor(model: LatentText) -> LatentText {
    let config = LengthPredictorConfig {
        source_dim: Some(24),
        classes: None,
        hidden: 8,
        max_length: common::MAX_TOKENS,
    };
    let predictor = common::randomised(config.init(model.device()));
    model.with_length_predictor(config, predictor).unwrap()
}

/// Texts with their latents, each the better of two.
fn generate(model: &LatentText) -> Vec<Generated> {
    let strings = |texts: &[&str]| texts.iter().map(|text| text.to_string()).collect();
    let of = |has: bool, texts: &[&str]| if has { strings(texts) } else { Vec::new() };
    let scale = 2.0;
    let guidance = match (model.weaker_denoiser(), &model.config.labels) {
        (Some(_), _) => Some(GuidanceConfig::Autoguidance { scale }),
        (None, Some(_)) => Some(GuidanceConfig::ClassifierFree { scale }),
        (None, None) => None,
    };
    let request = Request {
        count: 3,
        seed: 5,
        labels: of(model.config.labels.is_some(), &["cafe", "inn"]),
        sources: of(model.config.source.is_some(), &["kika momu", "ba du"]),
        guidance,
        candidates: 2,
        choice: Choice::Likelihood,
        with_latents: true,
        ..Request::default()
    };
    model.generate(&request, |_| ControlFlow::Continue(())).unwrap()
}

fn computes_in(dtype: FloatDType) -> bool {
    let supported = Device::default().supports_dtype(dtype);
    if !supported {
        println!("left out: this device does not compute in {dtype:?}");
    }
    supported
}

/// The first float parameter of each network that can be seen from outside.
fn dtypes(model: &LatentText) -> Vec<DType> {
    let reader = model.source_reader().map(|reader| &reader.language_model().model);
    let found = [
        dtype_of(&model.denoiser),
        model.weaker_denoiser().and_then(dtype_of),
        dtype_of(&model.autoencoder.language_model.model),
        reader.and_then(dtype_of),
    ];
    found.into_iter().flatten().collect()
}

#[test]
fn a_model_in_f32_stays_what_it_is() {
    for make in MODELS {
        let cast = make().cast(FloatDType::F32).unwrap();
        assert_eq!(generate(&cast), generate(&make()));
    }
}

#[test]
fn a_model_writes_in_bf16() {
    if !computes_in(FloatDType::BF16) {
        return;
    }
    for make in MODELS {
        let model = make().cast(FloatDType::BF16).unwrap();
        assert!(dtypes(&model).iter().all(|dtype| *dtype == DType::BF16), "{:?}", dtypes(&model));
        let generated = generate(&model);
        assert_eq!(generate(&model), generated);
        let texts = ["kika momu", "ba"];
        let latents = model.encode(&texts).unwrap();
        assert_eq!(latents.values.dtype(), DType::F32);
        let decoded = model.decode(latents, &model.config.decoding, &[0, 0]).unwrap();
        assert_eq!(decoded, model.reconstruct(&texts).unwrap());
    }
}

#[test]
fn latents_in_bf16_are_near_those_in_f32() {
    if !computes_in(FloatDType::BF16) {
        return;
    }
    let model = || common::model(None, LatentNorm::None);
    let latents = |model: LatentText| {
        let request = Request { count: 3, seed: 5, with_latents: true, ..Request::default() };
        let generated = model.generate(&request, |_| ControlFlow::Continue(())).unwrap();
        let latents = generated.into_iter().flat_map(|text| text.latents.unwrap());
        latents.flatten().collect::<Vec<f32>>()
    };
    let (exact, rounded) = (latents(model()), latents(model().cast(FloatDType::BF16).unwrap()));
    let differences = exact.iter().zip(&rounded).map(|(exact, rounded)| (exact - rounded).abs());
    let largest = differences.fold(0.0, f32::max);
    assert!(0.0 < largest && largest < 0.2, "{largest}");
}

#[test]
fn a_model_that_was_cast_is_saved_and_cast_back() {
    if !computes_in(FloatDType::F16) {
        return;
    }
    for make in MODELS {
        let model = make().cast(FloatDType::F16).unwrap();
        let folder = tempfile::tempdir().unwrap();
        model.save(folder.path(), FloatDType::F16).unwrap();
        let loaded = LatentText::load(folder.path(), model.device()).unwrap();
        let back = model.cast(FloatDType::F32).unwrap();
        // The parameters are numbers that f16 has too.
        let expected = generate(&make());
        assert_eq!(generate(&back), expected);
        assert_eq!(generate(&loaded), expected);
    }
}

#[test]
fn what_the_device_does_not_compute_in_is_refused() {
    let device = Device::default();
    let known = [FloatDType::F64, FloatDType::F16, FloatDType::BF16, FloatDType::Flex32];
    let Some(dtype) = known.into_iter().find(|dtype| !device.supports_dtype(*dtype)) else {
        println!("left out: this device computes in everything");
        return;
    };
    let error = common::unconditional().cast(dtype).err().unwrap();
    assert!(matches!(error, GenerationError::Precision { .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("{dtype:?}")), "{error}");
}
