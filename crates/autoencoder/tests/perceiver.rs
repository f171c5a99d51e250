//! The Perceiver against LD4LG's published code, and its settings.

mod common;

use burn::module::Module;
use burn::tensor::{Bool, DType, Device, FloatDType, Tensor};
use common::{golden_config, golden_perceiver};
use latent_text_autoencoder::{
    AutoencoderError, LatentNorm, PerceiverConfig, l2_normalize_latents, reference_name,
};
use latent_text_nn::cast_module;
use latent_text_nn::weights::{TensorFile, named_shapes};
use latent_text_testing::distance;

/// Ten times the error of a faithful implementation in f32.
const TOLERANCE: f32 = 2e-5;

fn text(file: &TensorFile, device: &Device) -> (Tensor<3>, Tensor<2, Bool>) {
    let mask = file.ints::<2>("io.attention_mask", device).unwrap();
    (file.tensor("io.hidden", device).unwrap(), mask.equal_elem(1))
}

#[test]
fn latents_are_the_published_codes() {
    let device = Device::default();
    let (perceiver, file) = golden_perceiver(&golden_config(), &device);
    let (hidden, mask) = text(&file, &device);
    let latents = perceiver.compress(hidden, Some(mask));
    let error = distance(latents, file.tensor("io.latent", &device).unwrap());
    println!("largest error {error:e}");
    assert!(error < TOLERANCE, "{error}");
}

#[test]
fn reconstructed_states_are_the_published_codes() {
    let device = Device::default();
    let (perceiver, file) = golden_perceiver(&golden_config(), &device);
    let states = perceiver.reconstruct(file.tensor("io.latent", &device).unwrap());
    let error = distance(states, file.tensor("io.decoder_input", &device).unwrap());
    println!("largest error {error:e}");
    assert!(error < TOLERANCE, "{error}");
}

#[test]
fn padding_does_not_change_the_latents() {
    const REAL: usize = 7; // tokens of the second golden text, of 10 with padding
    let device = Device::default();
    let (perceiver, file) = golden_perceiver(&golden_config(), &device);
    let (hidden, mask) = text(&file, &device);
    let (hidden, mask) = (hidden.slice(1..2), mask.slice(1..2));
    assert_eq!(mask.clone().int().sum().into_scalar::<i32>(), REAL as i32);
    let unpadded = perceiver.compress(hidden.clone().slice([0..1, 0..REAL]), None);
    let garbage = Tensor::full([1, 10 - REAL, 128], 1e3, &device);
    let padded = hidden.slice_assign([0..1, REAL..10, 0..128], garbage);
    let error = distance(perceiver.compress(padded, Some(mask)), unpadded);
    assert!(error < TOLERANCE, "{error}");
}

#[test]
fn normalised_latents_are_the_others_scaled_to_the_norm_sqrt_dim() {
    let device = Device::default();
    let config = PerceiverConfig { latent_norm: LatentNorm::None, ..golden_config() };
    let (perceiver, file) = golden_perceiver(&config, &device);
    let (hidden, mask) = text(&file, &device);
    let latents = perceiver.compress(hidden, Some(mask));
    assert!(distance(latents.clone(), file.tensor("io.latent", &device).unwrap()) > 0.01);
    let normalised = l2_normalize_latents(latents.clone());
    assert!(distance(normalised.clone(), file.tensor("io.latent", &device).unwrap()) < TOLERANCE);
    let squared_norms = normalised.square().sum_dim(2);
    assert!(distance(squared_norms.clone(), squared_norms.full_like(64.0)) < 1e-3);
}

#[test]
fn a_zero_vector_stays_zero_and_has_a_finite_gradient() {
    let device = Device::default().autodiff();
    let zeros = Tensor::<3>::zeros([1, 2, 4], &device).require_grad();
    let normalised = l2_normalize_latents(zeros.clone());
    let gradients = normalised.clone().sum().backward();
    assert_eq!(normalised.abs().max().into_scalar::<f32>(), 0.0);
    let gradient = zeros.grad(&gradients).unwrap();
    assert!(gradient.abs().max().into_scalar::<f32>().is_finite());
}

#[test]
fn bf16_parameters_give_nearly_the_same_in_bf16() {
    let device = Device::default();
    let (perceiver, file) = golden_perceiver(&golden_config(), &device);
    let perceiver = cast_module(perceiver, FloatDType::BF16);
    let (hidden, mask) = text(&file, &device);
    let latents = perceiver.compress(hidden, Some(mask));
    assert_eq!(latents.dtype(), DType::BF16);
    let expected: Tensor<3> = file.tensor("io.latent", &device).unwrap();
    let deviation: f32 =
        (latents.cast(FloatDType::F32) - expected.clone()).square().mean().sqrt().into_scalar();
    assert!(deviation < 0.05, "{deviation}"); // of latents with an RMS of 1

    let states = perceiver.reconstruct(expected);
    assert_eq!(states.dtype(), DType::BF16);
    let expected: Tensor<3> = file.tensor("io.decoder_input", &device).unwrap();
    let rms: f32 = expected.clone().square().mean().sqrt().into_scalar();
    let deviation: f32 =
        (states.cast(FloatDType::F32) - expected).square().mean().sqrt().into_scalar();
    assert!(deviation < 0.05 * rms, "{deviation} of {rms}");
}

#[test]
#[should_panic(expected = "65 positions, but the table has 64")]
fn more_tokens_than_positions_are_a_mistake() {
    let device = Device::default();
    let perceiver = golden_config().init(&device);
    perceiver.compress(Tensor::zeros([1, 65, 128], &device), None);
}

#[test]
fn the_full_size_has_the_papers_parameters() {
    let device = Device::default();
    let perceiver = PerceiverConfig::default().init(&device);
    assert_eq!(perceiver.num_params(), 25_618_432);
    let shapes: Vec<_> = named_shapes(&perceiver)
        .into_iter()
        .map(|(path, shape)| (reference_name(&path), shape))
        .collect();
    let parameters = |network: &str| {
        let of = shapes.iter().filter(|(name, _)| name.starts_with(network));
        of.map(|(_, shape)| shape.iter().product::<usize>()).sum::<usize>()
    };
    assert_eq!(parameters("perceiver_encoder."), 4_285_312);
    assert_eq!(parameters("perceiver_decoder."), 21_333_120);
    let mut names: Vec<_> = shapes.iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 105);
}

#[test]
fn equally_wide_text_and_latents_share_their_key_value_matrix() {
    let device = Device::default();
    let config = PerceiverConfig { latent_dim: 128, ..golden_config() };
    let perceiver = config.init(&device);
    let names = named_shapes(&perceiver);
    assert!(names.iter().all(|(name, _)| !name.contains("latent_key_value")));
    let latents = perceiver.compress(Tensor::ones([2, 5, 128], &device), None);
    assert_eq!(latents.dims(), [2, 8, 128]);
    assert_eq!(perceiver.reconstruct(latents).dims(), [2, 8, 128]);
}

#[test]
fn settings_that_fit_no_perceiver_are_refused_by_name() {
    let refused = |config: PerceiverConfig| match config.validate() {
        Err(AutoencoderError::Setting { setting, .. }) => setting,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(PerceiverConfig { dim_lm: 100, ..golden_config() }), "dim_lm");
    assert_eq!(refused(PerceiverConfig { latent_dim: 200, ..golden_config() }), "latent_dim");
    assert_eq!(refused(PerceiverConfig { latents: 0, ..golden_config() }), "latents");
    assert_eq!(refused(PerceiverConfig { head_dim: 0, ..golden_config() }), "head_dim");
    assert_eq!(refused(PerceiverConfig { max_tokens: 0, ..golden_config() }), "max_tokens");
    assert!(PerceiverConfig { latent_dim: 20, ..golden_config() }.validate().is_ok());
}

#[test]
fn settings_survive_json_and_misspelt_ones_are_refused() {
    let config = PerceiverConfig { latent_norm: LatentNorm::None, ..golden_config() };
    let text = serde_json::to_string(&config).unwrap();
    assert!(text.contains(r#""latent_norm":"none""#), "{text}");
    assert_eq!(serde_json::from_str::<PerceiverConfig>(&text).unwrap(), config);
    let partial: PerceiverConfig = serde_json::from_str(r#"{"layers": 1}"#).unwrap();
    assert_eq!(partial, PerceiverConfig { layers: 1, ..Default::default() });
    assert!(serde_json::from_str::<PerceiverConfig>(r#"{"layer": 1}"#).is_err());
}
