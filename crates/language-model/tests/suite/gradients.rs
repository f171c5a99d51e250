//! Gradients against finite differences, and what training mode changes.

use crate::common::{bart, computes_in_bf16, tensors};
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, FloatDType, Int, Tensor, TensorData};
use latent_text_language_model::{Bart, BartConfig, cross_entropy, shift_right};
use latent_text_nn::cast_module;
use latent_text_testing::{distance, fixture, values};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn loss(bart: &Bart, states: Tensor<3>, device: &Device) -> Tensor<1> {
    let file = tensors("forward.safetensors");
    let labels: Tensor<2, Int> = file.ints("labels", device).unwrap();
    let mask = file.bools("mask", device).unwrap();
    let logits = bart.decode(shift_right(labels.clone(), 2), states, Some(mask));
    cross_entropy(logits, labels, file.bools("counted", device).unwrap())
}

fn without_dropout(device: &Device) -> Bart {
    let config = BartConfig { dropout: 0.0, ..BartConfig::from_folder(&fixture("bart")).unwrap() };
    Bart::load(&fixture("bart"), &config, device).unwrap()
}

/// Independent of the device's generator, which tests beside this one draw from too.
fn direction<const D: usize>(
    shape: [usize; D],
    generator: &mut ChaCha8Rng,
    device: &Device,
) -> Tensor<D> {
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|_| generator.random_range(-1.5..1.5)).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The slope of `f` at 0, from both sides.
fn slope(f: impl Fn(f32) -> f32, step: f32) -> f32 {
    (f(step) - f(-step)) / (2.0 * step)
}

#[test]
fn gradients_reach_the_encoder_states() {
    let device = Device::default();
    let trained = device.clone().autodiff();
    let file = tensors("forward.safetensors");
    let point = file.tensor::<3>("encoder_states", &device).unwrap();

    let states = Tensor::from_inner(point.clone()).require_grad();
    let gradients = loss(&without_dropout(&trained), states.clone(), &trained).backward();
    let gradient = states.grad(&gradients).unwrap();

    let bart = without_dropout(&device);
    let mut generator = ChaCha8Rng::seed_from_u64(4);
    for _ in 0..8 {
        let direction = direction(point.dims(), &mut generator, &device);
        let analytic = values((gradient.clone() * direction.clone()).sum())[0];
        let at =
            |step: f32| values(loss(&bart, point.clone() + direction.clone() * step, &device))[0];
        let numeric = slope(at, 2e-3);
        println!("analytic {analytic}, numeric {numeric}");
        assert!((analytic - numeric).abs() < 1e-3 + 5e-3 * numeric.abs());
    }
}

#[test]
fn gradients_of_all_weights_are_right() {
    /// Moves every parameter along its own random direction.
    struct Mover {
        step: f32,
        generator: ChaCha8Rng,
    }

    impl ModuleMapper for Mover {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let direction = direction(param.dims(), &mut self.generator, &param.device());
            let step = if param.dims() == [1, 384].as_slice() { 0.0 } else { self.step };
            param.map(|value| value + direction * step)
        }
    }

    struct Slope<'a> {
        gradients: &'a burn::tensor::Gradients,
        generator: ChaCha8Rng,
        total: f32,
        without: usize,
    }

    impl burn::module::ModuleVisitor for Slope<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let direction =
                direction(param.dims(), &mut self.generator, &param.device().without_autodiff());
            match param.val().grad(self.gradients) {
                Some(gradient) => self.total += values((gradient * direction).sum())[0],
                None => self.without += 1,
            }
        }
    }

    let device = Device::default();
    let trained_device = device.clone().autodiff();
    let whole = |bart: &Bart, device: &Device| {
        let file = tensors("forward.safetensors");
        let ids = file.ints("input_ids", device).unwrap();
        let mask = file.bools("mask", device).unwrap();
        loss(bart, bart.encode(ids, Some(mask)), device)
    };
    let trained = without_dropout(&trained_device);
    let gradients = whole(&trained, &trained_device).backward();
    let bart = without_dropout(&device);
    for seed in 0..3 {
        let generator = ChaCha8Rng::seed_from_u64(seed);
        let mut analytic =
            Slope { gradients: &gradients, generator: generator.clone(), total: 0.0, without: 0 };
        trained.visit(&mut analytic);
        // Only the bias of the logits, a buffer.
        assert_eq!(analytic.without, 1);
        let at = |step: f32| {
            let moved = bart.clone().map(&mut Mover { step, generator: generator.clone() });
            values(whole(&moved, &device))[0]
        };
        let numeric = slope(at, 5e-4);
        println!("analytic {}, numeric {numeric}", analytic.total);
        assert!((analytic.total - numeric).abs() < 1e-2 + 2e-3 * numeric.abs());
    }
}

#[test]
fn dropout_acts_in_training_only() {
    let device = Device::default();
    let ids = |device: &Device| Tensor::<2, Int>::from_ints([[0, 30, 40, 2]], device);
    let trained_device = device.clone().autodiff();
    let training = bart(&trained_device);
    let states = || training.encode(ids(&trained_device), None).without_autodiff();
    assert!(distance(states(), states()) > 1e-2);

    let expected = bart(&device).encode(ids(&device), None);
    assert_eq!(distance(training.valid().encode(ids(&device), None), expected), 0.0);
}

#[test]
fn bf16_models_train() {
    if !computes_in_bf16() {
        return;
    }
    let device = Device::default().autodiff();
    let bart = cast_module(bart(&device), FloatDType::BF16);
    let file = tensors("forward.safetensors");
    let states = file.tensor::<3>("encoder_states", &device).unwrap().cast(FloatDType::BF16);
    let states = states.detach().require_grad();
    let loss = loss(&bart, states.clone(), &device);
    assert_eq!(loss.dtype(), burn::tensor::DType::F32);
    let gradient = states.grad(&loss.backward()).unwrap();
    assert!(values(gradient.abs().sum())[0] > 0.0);
}
