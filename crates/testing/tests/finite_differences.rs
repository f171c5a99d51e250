//! That wrong gradients are found.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use latent_text_testing::{Along, FiniteDifferences, filled};

fn check(along: Along, loss: impl Fn(&(Linear, Linear), &Device) -> Tensor<1>) -> usize {
    let device = Device::default().autodiff();
    let layer = || LinearConfig::new(3, 2).init(&device);
    let layers = (filled(layer(), 0), filled(layer(), 10).freeze());
    let differences = FiniteDifferences { along, absolute: 1e-4, relative: 2e-3, telling: 0.7 };
    differences.check(&layers, loss)
}

/// Sum of the squares of the outputs for the input 1.
fn energy((layer, frozen): &(Linear, Linear), device: &Device) -> Tensor<1> {
    let output = layer.forward(Tensor::<2>::ones([1, 3], device));
    (output + frozen.bias.as_ref().unwrap().val().unsqueeze()).square().sum()
}

#[test]
fn right_gradients_pass_and_frozen_parameters_are_counted() {
    for along in [Along::OneDirection, Along::EveryValue] {
        assert_eq!(check(along, energy), 2);
    }
}

#[test]
#[should_panic(expected = "against")]
fn a_part_that_gets_no_gradient_is_found() {
    let _ = check(Along::OneDirection, |layers, device| {
        energy(layers, device) + layers.0.weight.val().detach().square().sum()
    });
}

#[test]
#[should_panic(expected = "against")]
fn one_wrong_value_is_found() {
    let _ = check(Along::EveryValue, |layers, device| {
        let bias = layers.0.bias.as_ref().unwrap().val();
        energy(layers, device) + bias.slice(0..1).detach().square().sum()
    });
}

#[test]
#[should_panic(expected = "[0.0, 0.0]")]
fn gradients_that_could_be_zero_are_found() {
    let _ = check(Along::OneDirection, |layers, device| energy(layers, device) * 0.0);
}
