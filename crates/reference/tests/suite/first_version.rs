//! Models over the encoder's own states, of the first and of the second version.

use burn::tensor::{Device, FloatDType, Int, Tensor};
use latent_text_conditioning::{LengthDistribution, length_mask};
use latent_text_denoiser::{Conditions, DenoisingNetworkConfig, NetworkTime};
use latent_text_diffusion::schedule::Betas;
use latent_text_diffusion::spacing::Trailing;
use latent_text_diffusion::{Prediction, SamplerKind, ScheduleKind, Spacing};
use latent_text_generation::{LatentText, Request, SamplingDefaults};
use latent_text_reference::{Part, ReferenceModel, TextLengths};

use crate::support::{Expected, Runs, TEXTS, assert_close, assert_refused, generate, load};

fn sst(runs: &Runs) -> ReferenceModel {
    ReferenceModel {
        autoencoder: None,
        labels: Some(vec!["negative".to_string(), "positive".to_string()]),
        lengths: Some(TextLengths::OfTexts(TEXTS.map(str::to_string).to_vec())),
        ..runs.model("sst", "sst")
    }
}

fn denoise(model: &LatentText, expected: &Expected, conditions: Conditions) -> Tensor<3> {
    let device = Device::default();
    let steps = expected.ints("steps");
    let time = NetworkTime {
        alpha: Tensor::zeros([steps.len()], &device),
        step: Some(Tensor::<1, Int>::from_data(steps.as_slice(), &device)),
    };
    model.denoiser.forward(expected.floats("z"), time, conditions)
}

#[test]
fn a_model_is_the_published_codes() {
    let runs = Runs::new(&["bart", "sst"]);
    let (converted, parts) = load(&sst(&runs));
    assert_eq!(parts, [Part::Denoiser, Part::Autoencoder]);
    let (model, expected) = (converted.model, Expected::open("sst"));
    let device = Device::default();
    let latents = model.encode(&TEXTS[..1]).unwrap();
    assert_close("latents", latents.values.squeeze_dim::<2>(0), expected.floats("latents"));
    let plain = denoise(&model, &expected, Conditions::default());
    assert_close("plain", plain, expected.floats("plain"));

    let latents = model.encode(&TEXTS).unwrap();
    assert_eq!(
        latents.lengths().unwrap(),
        expected.ints("lengths").iter().map(|&n| n as usize).collect::<Vec<_>>()
    );
    let mask = latents.mask.unwrap();
    let conditions = Conditions {
        self_cond: expected.estimate(),
        classes: Some(Tensor::from_data([1, 0], &device)),
        mask: Some(mask.clone()),
        ..Default::default()
    };
    let whole = denoise(&model, &expected, conditions);
    let hidden = mask.bool_not().unsqueeze_dim::<3>(2).expand(whole.dims());
    assert_close("whole", whole.mask_fill(hidden, 0.0), expected.floats("whole"));
}

#[test]
fn what_no_tensor_shows_is_set_as_published() {
    let runs = Runs::new(&["bart", "sst"]);
    let model = load(&sst(&runs)).0.model;
    let config = &model.config;
    let DenoisingNetworkConfig::EncoderSpace(denoiser) = &config.denoiser else {
        panic!("{config:?}")
    };
    assert_eq!((denoiser.relative_buckets, denoiser.relative_distance), (32, 128));
    assert_eq!(config.prediction, Prediction::X0);
    let ScheduleKind::Table(table) = config.schedule.kind else { panic!("{config:?}") };
    assert_eq!((table, table.len), (Default::default(), 1000));
    let sampling = &config.sampling;
    assert_eq!((sampling.sampler, sampling.steps), (SamplerKind::DdpmSmall, 250));
    assert_eq!(sampling.spacing, Spacing::Trailing(Trailing::default()));
    assert_eq!(config.statistics.scale, 1.75);
    assert_eq!(config.labels.as_ref().unwrap().names(), ["negative", "positive"]);

    let mut counts = vec![0; 24];
    for length in Expected::open("sst").ints("lengths") {
        counts[length as usize - 1] += 1;
    }
    let lengths = LengthDistribution::from_counts(counts).unwrap();
    assert_eq!(config.lengths, Some(lengths.clone()));
    let counted = ReferenceModel { lengths: Some(TextLengths::Counted(lengths)), ..sst(&runs) };
    assert_eq!(load(&counted).0.model.config, *config);
}

#[test]
fn a_saved_model_writes_the_same_texts() {
    let runs = Runs::new(&["bart", "sst"]);
    let model = load(&sst(&runs)).0.model;
    let folder = runs.path("saved");
    model.save(&folder, FloatDType::F32).unwrap();
    let saved = LatentText::load(&folder, &Device::default()).unwrap();
    assert_eq!(saved.config, model.config);
    let request = Request {
        count: 2,
        seed: 5,
        labels: vec!["positive".to_string()],
        steps: Some(4),
        ..Request::default()
    };
    assert_eq!(generate(&saved, &request), generate(&model, &request));
}

#[test]
fn what_it_needs_or_has_no_use_for_is_told() {
    let runs = Runs::new(&["bart", "sst", "roc"]);
    let without = ReferenceModel { lengths: None, ..sst(&runs) };
    assert_refused(&without, &["first version", "give the training texts"]);
    let empty = ReferenceModel { lengths: Some(TextLengths::OfTexts(Vec::new())), ..sst(&runs) };
    assert_refused(&empty, &["the counts hold no text"]);
    let with = ReferenceModel { autoencoder: Some(runs.path("roc/autoencoder")), ..sst(&runs) };
    assert_refused(&with, &["has no use for an autoencoder"]);
    let unlabelled = ReferenceModel { labels: None, ..sst(&runs) };
    assert_refused(&unlabelled, &["2 classes", "give one label for each"]);
    let one = ReferenceModel { labels: Some(vec!["good".to_string()]), ..sst(&runs) };
    assert_refused(&one, &["2 classes, there are 1 labels (good)"]);
    std::fs::remove_file(runs.path("bart/model.safetensors")).unwrap();
    assert_refused(&sst(&runs), &["bart/model.safetensors is missing"]);
}

#[test]
fn a_denoiser_of_the_second_version_may_be_over_states_too() {
    let runs = Runs::new(&["bart", "bart_diffusion"]);
    let lengths = Some(TextLengths::OfTexts(TEXTS.map(str::to_string).to_vec()));
    let published = ReferenceModel {
        autoencoder: None,
        lengths,
        ..runs.model("bart_diffusion", "bart_diffusion")
    };
    let (model, expected) = (load(&published).0.model, Expected::open("bart_diffusion"));
    let lengths: Vec<usize> = expected.ints("lengths").iter().map(|&n| n as usize).collect();
    let mask = length_mask(&lengths, 7, &Device::default()).unwrap();
    let conditions = Conditions {
        self_cond: expected.estimate(),
        mask: Some(mask.clone()),
        ..Default::default()
    };
    let whole = expected.denoise(&model, conditions);
    let hidden = mask.bool_not().unsqueeze_dim::<3>(2).expand(whole.dims());
    assert_close("whole", whole.mask_fill(hidden, 0.0), expected.floats("whole"));

    let config = &model.config;
    assert!(matches!(config.denoiser, DenoisingNetworkConfig::Latent(_)));
    assert!(matches!(config.schedule.kind, ScheduleKind::Cosine(_)));
    assert_eq!(config.sampling, SamplingDefaults::default());
    assert_eq!((config.prediction, config.statistics.scale), (Prediction::X0, 0.5));
    let request = Request { count: 2, steps: Some(3), ..Request::default() };
    generate(&model, &request);

    let neither = ReferenceModel { lengths: None, ..published };
    let advice = ["second version", "if the run had none, the training texts"];
    assert_refused(&neither, &advice);
}

/// The table of these betas as bytes of f32.
fn table(beta: impl Fn(f64) -> f64) -> Vec<u8> {
    let mut alpha = 1.0;
    let entries = (0..1000).map(|step| {
        alpha *= 1.0 - beta(f64::from(step));
        (alpha as f32).to_le_bytes()
    });
    entries.flatten().collect()
}

fn linear(step: f64) -> f64 {
    1e-4 + (0.02 - 1e-4) * step / 999.0
}

fn squared_cosine(step: f64) -> f64 {
    let alpha =
        |step: f64| ((step / 1000.0 + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2);
    (1.0 - alpha(step + 1.0) / alpha(step)).min(0.999)
}

#[test]
fn the_table_of_noise_levels_is_the_checkpoints_own() {
    const FILE: &str = "sst/diffusion/model.pt";
    let runs = Runs::new(&["bart", "sst"]);
    runs.replace_bytes(FILE, &table(linear), &table(squared_cosine));
    let config = load(&sst(&runs)).0.model.config;
    let ScheduleKind::Table(found) = config.schedule.kind else { panic!("{config:?}") };
    assert!(matches!(found.betas, Betas::SquaredCosine(_)));

    runs.replace_bytes(FILE, &table(squared_cosine), &table(|step| linear(step) / 2.0));
    assert_refused(&sst(&runs), &["noise schedule of 1000 steps", "neither linear"]);
    runs.replace(FILE, "ema_model.alphas_cumprod", "ema_model.alphas_cumbrod");
    assert_refused(&sst(&runs), &["lacks the tensor `ema_model.alphas_cumprod`"]);
}
