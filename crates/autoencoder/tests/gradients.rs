//! Gradients of the reconstruction loss against finite differences, through a frozen language model.

use burn::module::Module;
use burn::tensor::{Bool, Device, Int, Tensor};
use latent_text_autoencoder::{LatentNorm, Perceiver, PerceiverConfig};
use latent_text_language_model::{Bart, BartConfig, cross_entropy, shift_right};
use latent_text_testing::{Along, FiniteDifferences, filled, slopes, tiny_bart};

fn perceiver(gaussian_posterior: bool, device: &Device) -> Perceiver {
    let latent_norm = if gaussian_posterior { LatentNorm::None } else { LatentNorm::L2 };
    let config = PerceiverConfig {
        gaussian_posterior,
        latent_norm,
        dim_lm: 16,
        latents: 3,
        latent_dim: 8,
        layers: 2,
        head_dim: 8,
        ff_mult: 2,
        max_tokens: 8,
    };
    filled(config.init(device), 0)
}

fn frozen_bart(device: &Device) -> Bart {
    let config = BartConfig { vocab_size: 20, ..tiny_bart(16, 8) };
    filled(config.init(device), 500).freeze()
}

/// Token cross-entropy of two texts of 6 and 4 tokens, and the divergence of a Gaussian posterior.
fn reconstruction_loss(perceiver: &Perceiver, bart: &Bart, device: &Device) -> Tensor<1> {
    let ids = Tensor::<2, Int>::from_data([[0, 7, 8, 9, 10, 2], [0, 11, 12, 2, 1, 1]], device);
    let mask: Tensor<2, Bool> = ids.clone().not_equal_elem(1);
    let states = bart.encode(ids.clone(), Some(mask.clone()));
    let posterior = perceiver.posterior(states.clone(), Some(mask.clone()));
    let states = perceiver.reconstruct(perceiver.compress(states, Some(mask.clone())));
    let logits = bart.decode(shift_right(ids.clone(), 2), states, None);
    let loss = cross_entropy(logits, ids, mask);
    match posterior {
        None => loss,
        Some(posterior) => loss + posterior.kl() * 0.05,
    }
}

#[test]
fn only_the_perceiver_gets_gradients_and_they_match_finite_differences() {
    for gaussian_posterior in [false, true] {
        check_gradients(gaussian_posterior);
    }
}

fn check_gradients(gaussian_posterior: bool) {
    let device = Device::default().autodiff();
    let networks = (perceiver(gaussian_posterior, &device), frozen_bart(&device));
    let loss = |(perceiver, bart): &(Perceiver, Bart), device: &Device| {
        reconstruction_loss(perceiver, bart, device)
    };
    let gradients = loss(&networks, &device).backward();
    assert!(slopes(&networks.0, &gradients).iter().all(Option::is_some));
    let of_bart = slopes(&networks.1, &gradients);
    assert!(of_bart.iter().all(Option::is_none));

    let differences = FiniteDifferences {
        along: Along::OneDirection,
        absolute: 3e-5,
        relative: 2e-3,
        telling: 0.6,
    };
    assert_eq!(differences.check(&networks, loss), of_bart.len());
}
