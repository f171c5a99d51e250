//! Gradients against finite differences, and dropout in training.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Distribution, Gradients, Tensor, TensorData};
use latent_text_denoiser::{
    Conditions, Denoiser, DenoiserConfig, EncoderSpaceDenoiser, EncoderSpaceDenoiserConfig,
    SelfCondition, Source,
};

use crate::support::error;

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

/// The derivative of the loss along every parameter's direction.
struct Slopes<'a> {
    gradients: &'a Gradients,
    slopes: Vec<f32>,
}

impl ModuleVisitor for Slopes<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let slope = param.val().grad(self.gradients).map_or(0.0, |gradient| {
            let step = direction(self.slopes.len(), gradient.dims(), &gradient.device());
            (gradient * step).sum().into_scalar::<f32>()
        });
        self.slopes.push(slope);
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

/// The distance of an output to made-up targets, over the latents that count.
fn distance(output: Tensor<3>, conditions: &Conditions) -> Tensor<1> {
    let difference = output.clone() - noise(102, SHAPE, &output.device());
    match &conditions.mask {
        None => difference.square().mean(),
        Some(mask) => {
            let hidden = mask.clone().bool_not().unsqueeze_dim::<3>(2).expand(SHAPE);
            difference.mask_fill(hidden, 0.0).square().mean()
        }
    }
}

fn latent_loss(model: &Denoiser, device: &Device, conditions: Conditions) -> Tensor<1> {
    let alpha = Tensor::from_data([0.05, 0.5, 0.9], device);
    let output = model.forward(noise(101, SHAPE, device), alpha, conditions.clone());
    distance(output, &conditions)
}

/// Compares every parameter's gradient, along a direction, with the difference of two losses.
fn check_gradients<M: Module>(
    settings: impl Fn(&Device) -> M,
    loss: impl Fn(&M, &Device) -> Tensor<1>,
) {
    let device = Device::default().autodiff();
    let model = settings(&device).map(&mut Fill { index: 0 });
    let gradients = loss(&model, &device).backward();
    let mut visitor = Slopes { gradients: &gradients, slopes: Vec::new() };
    model.visit(&mut visitor);

    let plain = model.valid();
    let device = device.without_autodiff();
    let step = 0.02;
    let at = |parameter, amount| {
        let shifted = plain.clone().map(&mut Shift { parameter, amount, index: 0 });
        loss(&shifted, &device).into_scalar::<f32>()
    };
    for (parameter, &slope) in visitor.slopes.iter().enumerate() {
        let difference = (at(parameter, step) - at(parameter, -step)) / (2.0 * step);
        let error = (slope - difference).abs();
        // A loss of about 1 has f32 digits down to 1e-7, over a distance of 0.04.
        assert!(error < 1e-5 + 2e-3 * slope.abs(), "{parameter}: {slope} against {difference}");
    }
    let told_apart = visitor.slopes.iter().filter(|slope| slope.abs() > 1e-4).count();
    assert!(told_apart * 5 > visitor.slopes.len() * 4, "{:?}", visitor.slopes);
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
            distance(output, &conditions)
        },
    );
}

#[test]
fn dropout_acts_in_training_only() {
    let device = Device::default().autodiff();
    let config = DenoiserConfig { dropout: 0.5, ..config() };
    let denoiser = config.init(&device).map(&mut Fill { index: 0 });
    let run = |denoiser: &Denoiser, device: &Device| {
        let z = noise(1, [2, 6, 4], device);
        denoiser.forward(z, Tensor::from_data([0.3, 0.6], device), Conditions::default())
    };
    let twice = error(run(&denoiser, &device), run(&denoiser, &device));
    assert!(twice > 1e-3, "{twice}");

    let plain = denoiser.valid();
    let device = device.without_autodiff();
    assert_eq!(error(run(&plain, &device), run(&plain, &device)), 0.0);
    let trained_again = plain.train();
    let device = device.autodiff();
    let noise = Tensor::random([2, 6, 4], Distribution::Default, &device);
    let gradients = (run(&trained_again, &device) * noise).sum().backward();
    let mut visitor = Slopes { gradients: &gradients, slopes: Vec::new() };
    trained_again.visit(&mut visitor);
    assert!(visitor.slopes.iter().any(|slope| *slope != 0.0));
}
