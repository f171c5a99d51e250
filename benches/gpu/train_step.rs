//! One optimiser step of the denoiser, with the operations of `latent_text::training::train`.

#![allow(dead_code)] // Each program uses some of this module.

use burn::tensor::{Device, Distribution, Tensor};
use latent_text::denoiser::{DenoiserConfig, DenoisingNetwork};
use latent_text::training::optimisation::{
    AdamWConfig, AdamWOptimizer, Ema, EmaConfig, FlatLayout,
};
use latent_text::training::order::generator;
use latent_text::training::stage::{DiffusionBatch, DiffusionStage};
use latent_text::training::{Precision, Stage};
use rand::Rng;

const LEARNING_RATE: f64 = 2e-4;
const WEIGHT_DECAY: f64 = 1e-6;
const SEED: u64 = 0;

/// A denoiser in training.
pub struct TrainStep {
    stage: DiffusionStage,
    batches: Box<dyn FnMut(u64) -> DiffusionBatch + Send>,
    precision: Precision,
    layout: FlatLayout,
    model: DenoisingNetwork,
    parameters: Tensor<1>,
    optimizer: AdamWOptimizer,
    ema: Option<Ema>,
    step: u64,
}

impl TrainStep {
    /// A fresh denoiser, trained with clipping to norm 1, without a running average.
    pub fn new(config: &DenoiserConfig, stage: DiffusionStage, precision: Precision) -> Self {
        let model = DenoisingNetwork::from(config.init(&stage.device));
        let layout = FlatLayout::of(&model);
        let parameters = layout.gather(&model);
        Self {
            batches: stage.batches(),
            model: layout.scatter(model, &parameters, precision.dtype(), true),
            optimizer: adamw(&layout, &stage.device),
            stage,
            precision,
            layout,
            parameters,
            ema: None,
            step: 0,
        }
    }

    /// The same with a running average.
    pub fn with_ema(self) -> Self {
        let ema = Some(moving_average(self.parameters.clone()));
        Self { ema, ..self }
    }

    /// One step; returns its loss and gradient norm, still on the device.
    pub fn take(&mut self) -> (Tensor<1>, Tensor<1>) {
        self.stage.device.seed(generator(SEED, self.step).next_u64());
        let loss = self.stage.loss(&self.model, (self.batches)(self.step));
        let gradient = self.layout.gather_gradients(&self.model, loss.clone().backward());
        let parameters = taken(&mut self.parameters);
        let (parameters, norm) =
            self.optimizer.step(LEARNING_RATE, parameters, gradient, self.ema.as_mut());
        self.parameters = parameters;
        let dtype = self.precision.dtype();
        self.model = self.layout.scatter(self.model.clone(), &self.parameters, dtype, true);
        self.step += 1;
        (loss.inner(), norm)
    }

    /// The share of a batch that gets an estimate of the network's own from the next step on.
    pub fn set_self_conditioning(&mut self, share: f64) {
        self.stage.objective.self_conditioning = share;
    }
}

/// The optimiser's part of a step alone: clipping and AdamW, with or without the running average.
pub struct OptimizerStep {
    optimizer: AdamWOptimizer,
    parameters: Tensor<1>,
    gradient: Tensor<1>,
    ema: Option<Ema>,
}

impl OptimizerStep {
    /// That of a denoiser whose passes are in the given number format.
    pub fn new(
        config: &DenoiserConfig,
        precision: Precision,
        with_ema: bool,
        device: &Device,
    ) -> Self {
        let layout = FlatLayout::of(&DenoisingNetwork::from(config.init(device)));
        let parameters = Tensor::<1>::random([layout.len()], Distribution::Default, device);
        Self {
            optimizer: adamw(&layout, device),
            gradient: (parameters.clone() * 0.1).cast(precision.dtype()),
            ema: with_ema.then(|| moving_average(parameters.clone() * 2.0)),
            parameters,
        }
    }

    /// One step; returns the gradient's norm.
    pub fn take(&mut self) -> Tensor<1> {
        let parameters = taken(&mut self.parameters);
        let gradient = self.gradient.clone();
        let (parameters, norm) =
            self.optimizer.step(LEARNING_RATE, parameters, gradient, self.ema.as_mut());
        self.parameters = parameters;
        norm
    }
}

fn adamw(layout: &FlatLayout, device: &Device) -> AdamWOptimizer {
    AdamWConfig { weight_decay: WEIGHT_DECAY, ..AdamWConfig::default() }.init(layout, device)
}

/// An average that is past the steps in which it only copies.
fn moving_average(parameters: Tensor<1>) -> Ema {
    let config = EmaConfig::default();
    let updates = config.update_after + 10;
    let mut ema = Ema::new(config, parameters);
    ema.updates = updates;
    ema
}

/// Taken and not cloned: a vector that nobody else holds is written in place.
fn taken(parameters: &mut Tensor<1>) -> Tensor<1> {
    let nothing = Tensor::empty([1], &parameters.device());
    std::mem::replace(parameters, nothing)
}
