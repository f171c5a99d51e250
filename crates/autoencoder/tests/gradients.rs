//! Gradients of the reconstruction loss against finite differences, through a frozen language model.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Bool, Device, Gradients, Int, Tensor, TensorData};
use latent_text_autoencoder::{Perceiver, PerceiverConfig};
use latent_text_language_model::{Bart, BartConfig, cross_entropy, shift_right};

fn perceiver(gaussian_posterior: bool, device: &Device) -> Perceiver {
    let config = PerceiverConfig {
        gaussian_posterior,
        dim_lm: 16,
        latents: 3,
        latent_dim: 8,
        layers: 2,
        head_dim: 8,
        ff_mult: 2,
        max_tokens: 8,
        ..Default::default()
    };
    config.init(device).map(&mut Fill { index: 0 })
}

fn bart(device: &Device) -> Bart {
    let config = BartConfig {
        vocab_size: 20,
        max_position_embeddings: 8,
        d_model: 16,
        encoder_layers: 1,
        encoder_ffn_dim: 32,
        encoder_attention_heads: 2,
        decoder_layers: 1,
        decoder_ffn_dim: 32,
        decoder_attention_heads: 2,
        ..Default::default()
    };
    config.init(device).map(&mut Fill { index: 500 })
}

/// Values in [-1, 1) that look random and depend on `seed` only.
fn noise<const D: usize>(seed: usize, shape: [usize; D], device: &Device) -> Tensor<D> {
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|index| {
            let hash = ((seed * 1_000_003 + index + 1) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            ((hash >> 40) as f32 / (1 << 23) as f32) - 1.0
        })
        .collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// A direction of norm 1 for the parameter with this index.
fn direction<const D: usize>(index: usize, shape: [usize; D], device: &Device) -> Tensor<D> {
    let direction = noise(1000 + index, shape, device);
    let norm: f32 = direction.clone().square().sum().sqrt().into_scalar();
    direction / norm
}

/// Gives every parameter values that no two runs differ in, none of them special.
struct Fill {
    index: usize,
}

impl ModuleMapper for Fill {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.index += 1;
        param.map(|tensor| {
            let scale = if D == 1 { 0.5 } else { 1.5 / (tensor.dims()[0] as f32).sqrt() };
            let tracked = tensor.is_require_grad();
            let values = noise(self.index, tensor.dims(), &tensor.device()) * scale;
            values.set_require_grad(tracked)
        })
    }
}

/// Moves one parameter along its direction.
struct Shift {
    parameter: usize,
    amount: f32,
    index: usize,
}

impl ModuleMapper for Shift {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let index = self.index;
        self.index += 1;
        if index != self.parameter {
            return param;
        }
        param.map(|tensor| {
            let step = direction(index, tensor.dims(), &tensor.device()) * self.amount;
            tensor + step
        })
    }
}

/// The derivative of the loss along every parameter's direction; none where there is no gradient.
struct Slopes<'a> {
    gradients: &'a Gradients,
    slopes: Vec<Option<f32>>,
}

impl ModuleVisitor for Slopes<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let slope = param.val().grad(self.gradients).map(|gradient| {
            let step = direction(self.slopes.len(), gradient.dims(), &gradient.device());
            (gradient * step).sum().into_scalar::<f32>()
        });
        self.slopes.push(slope);
    }
}

fn slopes<M: Module>(module: &M, gradients: &Gradients) -> Vec<Option<f32>> {
    let mut visitor = Slopes { gradients, slopes: Vec::new() };
    module.visit(&mut visitor);
    visitor.slopes
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
        Some(posterior) => loss + posterior.kl() * 0.01,
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
    let (perceiver, bart) = (perceiver(gaussian_posterior, &device), bart(&device).freeze());
    let gradients = reconstruction_loss(&perceiver, &bart, &device).backward();
    assert!(slopes(&bart, &gradients).iter().all(Option::is_none));
    let slopes = slopes(&perceiver, &gradients);
    assert!(slopes.iter().all(Option::is_some));

    let (plain, bart) = (perceiver.valid(), bart.valid());
    let device = device.without_autodiff();
    let step = 0.02;
    let at = |parameter, amount| {
        let shifted = plain.clone().map(&mut Shift { parameter, amount, index: 0 });
        reconstruction_loss(&shifted, &bart, &device).into_scalar::<f32>()
    };
    for (parameter, slope) in slopes.iter().flatten().enumerate() {
        let difference = (at(parameter, step) - at(parameter, -step)) / (2.0 * step);
        let error = (slope - difference).abs();
        assert!(error < 3e-5 + 2e-3 * slope.abs(), "{parameter}: {slope} against {difference}");
    }
    let told_apart = slopes.iter().flatten().filter(|slope| slope.abs() > 3e-4).count();
    assert!(told_apart * 5 > slopes.len() * 3, "{slopes:?}");
}
