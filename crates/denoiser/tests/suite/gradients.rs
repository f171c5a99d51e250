//! Gradients against finite differences, and dropout in training.

use burn::module::Module;
use burn::tensor::{Device, Distribution, Tensor};
use latent_text_denoiser::{
    Conditions, Denoiser, DenoiserConfig, EncoderSpaceDenoiser, EncoderSpaceDenoiserConfig,
    SelfCondition, Source,
};
use latent_text_testing::{
    Along, FiniteDifferences, distance, filled, noise, slopes, without_padding,
};

fn config() -> DenoiserConfig {
    DenoiserConfig {
        latent_dim: 4,
        max_latents: 6,
        dim: 16,
        depth: 4,
        head_dim: 8,
        dense_connections: 2,
        dropout: 0.0,
        ..Default::default()
    }
}

const SHAPE: [usize; 3] = [3, 5, 4];

/// An estimate for some samples, classes, and latents in different numbers.
fn conditions(device: &Device) -> Conditions {
    let present = Some(Tensor::from_data([true, false, true], device));
    Conditions {
        self_cond: Some(SelfCondition { estimate: noise(103, SHAPE, device), present }),
        classes: Some(Tensor::from_data([0, 3, 1], device)),
        source: None,
        mask: Some(Tensor::from_data(
            [
                [true, true, true, true, true],
                [true, true, true, false, false],
                [true, true, true, true, false],
            ],
            device,
        )),
    }
}

/// The mean squared distance of an output to made-up targets, over the latents that count.
fn error(output: Tensor<3>, conditions: &Conditions) -> Tensor<1> {
    let difference = output.clone() - noise(102, SHAPE, &output.device());
    match conditions.mask.clone() {
        None => difference.square().mean(),
        Some(mask) => without_padding(difference, mask).square().mean(),
    }
}

fn latent_loss(model: &Denoiser, device: &Device, conditions: Conditions) -> Tensor<1> {
    let alpha = Tensor::from_data([0.05, 0.5, 0.9], device);
    let output = model.forward(noise(101, SHAPE, device), alpha, conditions.clone());
    error(output, &conditions)
}

/// Every parameter has a gradient, which is the difference of two losses.
fn check_gradients<M: Module>(
    init: impl Fn(&Device) -> M,
    loss: impl Fn(&M, &Device) -> Tensor<1>,
) {
    let differences = FiniteDifferences {
        along: Along::OneDirection,
        absolute: 1e-5,
        relative: 2e-3,
        telling: 0.8,
    };
    let model = filled(init(&Device::default().autodiff()), 0);
    assert_eq!(differences.check(&model, loss), 0);
}

#[test]
fn gradients_of_all_parameters_match_finite_differences() {
    let config = DenoiserConfig { classes: Some(3), ..config() };
    check_gradients(
        |device| config.init(device),
        |model: &Denoiser, device| {
            latent_loss(model, device, Conditions { mask: None, ..conditions(device) })
        },
    );
}

#[test]
fn gradients_with_sources_and_masks_match_finite_differences() {
    let config = DenoiserConfig {
        depth: 2,
        dense_connections: 1,
        classes: Some(3),
        source_dim: Some(6),
        ..config()
    };
    check_gradients(
        |device| config.init(device),
        |model: &Denoiser, device| {
            let mask = [[true, true, false], [true, true, true], [true, true, true]];
            let source = model.read_source(Source {
                states: noise(104, [3, 3, 6], device),
                mask: Some(Tensor::from_data(mask, device)),
                present: Some(Tensor::from_data([true, true, false], device)),
            });
            let conditions = Conditions { source: Some(source), ..conditions(device) };
            latent_loss(model, device, conditions)
        },
    );
}

#[test]
fn gradients_in_encoder_space_match_finite_differences() {
    let config = EncoderSpaceDenoiserConfig {
        latent_dim: 4,
        max_latents: 6,
        dim: 16,
        depth: 2,
        head_dim: 8,
        relative_buckets: 8,
        relative_distance: 6,
        classes: Some(3),
        ..Default::default()
    };
    check_gradients(
        |device| config.init(device),
        |model: &EncoderSpaceDenoiser, device| {
            let steps = Tensor::from_data([1, 400, 999], device);
            let conditions = conditions(device);
            let output = model.forward(noise(101, SHAPE, device), steps, conditions.clone());
            error(output, &conditions)
        },
    );
}

#[test]
fn dropout_acts_in_training_only() {
    let device = Device::default().autodiff();
    let config = DenoiserConfig { dropout: 0.5, ..config() };
    let denoiser = filled(config.init(&device), 0);
    let run = |denoiser: &Denoiser, device: &Device| {
        let z = noise(1, [2, 6, 4], device);
        denoiser.forward(z, Tensor::from_data([0.3, 0.6], device), Conditions::default())
    };
    let twice = distance(run(&denoiser, &device), run(&denoiser, &device));
    assert!(twice > 1e-3, "{twice}");

    let plain = denoiser.valid();
    let device = device.without_autodiff();
    assert_eq!(distance(run(&plain, &device), run(&plain, &device)), 0.0);
    let trained_again = plain.train();
    let device = device.autodiff();
    let noise = Tensor::random([2, 6, 4], Distribution::Default, &device);
    let gradients = (run(&trained_again, &device) * noise).sum().backward();
    let slopes = slopes(&trained_again, &gradients);
    assert!(slopes.into_iter().flatten().any(|slope| slope != 0.0));
}
