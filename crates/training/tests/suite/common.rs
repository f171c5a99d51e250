use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use burn::nn::{DropoutConfig, Linear, LinearConfig};
use burn::tensor::{Device, Distribution, FloatDType, Tensor, TensorData};
use latent_text_nn::linear;
use latent_text_training::optimisation::FlatLayout;
use latent_text_training::order::generator;
use latent_text_training::{
    Outcome, Precision, Run, Stage, TrainerConfig, TrainingError, Validation, train,
};
use rand::RngExt;

pub fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.clone().try_into_vec_as::<f32>().expect("a float tensor")
}

pub fn vector(values: &[f32], device: &Device) -> Tensor<1> {
    Tensor::from_floats(values, device)
}

pub fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

pub const INPUTS: usize = 3;
pub const OUTPUTS: usize = 4;

/// A linear layer of the given parameters: the weight as `[inputs, outputs]`, then the bias.
pub fn layer(start: &[f32], device: &Device) -> Linear {
    let layer = LinearConfig::new(INPUTS, OUTPUTS).init(device);
    let layout = FlatLayout::of(&layer);
    layout.scatter(layer, &vector(start, device), FloatDType::F32, false)
}

pub fn parameters(layer: &Linear) -> Vec<f32> {
    values(&FlatLayout::of(layer).gather(layer))
}

/// Inputs `[rows, INPUTS]` and targets `[rows, OUTPUTS]`.
#[derive(Clone)]
pub struct Pairs {
    pub x: Vec<f32>,
    pub y: Vec<f32>,
}

impl Pairs {
    /// Rows `first..first + rows` of an endless random table.
    pub fn random(first: u64, rows: u64) -> Self {
        let (mut x, mut y) = (Vec::new(), Vec::new());
        for row in first..first + rows {
            let mut rng = generator(77, row);
            x.extend((0..INPUTS).map(|_| rng.random_range(-1.0f32..1.0)));
            y.extend((0..OUTPUTS).map(|_| rng.random_range(-1.0f32..1.0)));
        }
        Self { x, y }
    }
}

type Batches = Arc<dyn Fn(u64) -> Pairs + Send + Sync>;
type Hook = Box<dyn Fn(u64, Tensor<1>) -> Tensor<1>>;

/// Linear regression under the mean squared error.
pub struct Regression {
    pub batches: Batches,
    pub dropout: f64,
    /// Sees each batch's number and its loss, which it may change.
    pub hook: Hook,
    pub device: Device,
}

impl Regression {
    pub fn new(device: &Device, batches: impl Fn(u64) -> Pairs + Send + Sync + 'static) -> Self {
        Self {
            batches: Arc::new(batches),
            dropout: 0.0,
            hook: Box::new(|_, loss| loss),
            device: device.clone(),
        }
    }

    fn error(&self, model: &Linear, pairs: Pairs, device: &Device) -> Tensor<1> {
        let rows = pairs.x.len() / INPUTS;
        let dtype = model.weight.val().dtype();
        let x: Tensor<2> = Tensor::from_data(TensorData::new(pairs.x, [rows, INPUTS]), device);
        let y: Tensor<2> = Tensor::from_data(TensorData::new(pairs.y, [rows, OUTPUTS]), device);
        let x = DropoutConfig::new(self.dropout).init().forward(x);
        let output = linear(model, x.cast(dtype)).cast(FloatDType::F32);
        (output - y).square().mean()
    }
}

impl Stage for Regression {
    type Model = Linear;
    type Batch = (u64, Pairs);

    fn name(&self) -> &'static str {
        "regression"
    }

    fn batches(&self) -> Box<dyn FnMut(u64) -> Self::Batch + Send> {
        let batches = self.batches.clone();
        Box::new(move |index| (index, batches(index)))
    }

    fn loss(&self, model: &Linear, (index, pairs): Self::Batch) -> Tensor<1> {
        (self.hook)(index, self.error(model, pairs, &self.device.clone().autodiff()))
    }

    fn validate(&self, model: &Linear, samples: usize) -> Result<Validation, TrainingError> {
        assert!(parameters(model).iter().all(|value| value.is_finite()), "a broken model is shown");
        // A validation that uses up random numbers must not change the training.
        let _ = Tensor::<1>::random([7], Distribution::Default, &self.device);
        let loss = values(&self.error(model, (self.batches)(0), &self.device))[0];
        let texts = (0..samples).map(|sample| format!("sample {sample}\nof {loss}")).collect();
        Ok(Validation { values: vec![("loss".to_string(), f64::from(loss))], texts })
    }
}

/// A run into `folder` that nothing stops.
pub struct Place<'a> {
    pub folder: &'a Path,
    pub device: &'a Device,
    pub stop: &'a AtomicBool,
}

impl<'a> Place<'a> {
    pub fn run(&self) -> Run<'a> {
        Run {
            folder: self.folder,
            device: self.device,
            precision: Precision::F32,
            seed: 5,
            fingerprint: "settings".to_string(),
            stop: self.stop,
        }
    }
}

/// Trains to the end.
pub fn finish(
    stage: &Regression,
    start: &[f32],
    config: &TrainerConfig,
    run: &Run<'_>,
) -> Result<Linear, TrainingError> {
    match train(stage, layer(start, run.device), config, run)? {
        Outcome::Finished(model) => Ok(model),
        Outcome::Interrupted { step, .. } => panic!("interrupted at step {step}"),
    }
}

pub fn start() -> Vec<f32> {
    (0..INPUTS * OUTPUTS + OUTPUTS).map(|index| (index as f32 * 0.7).sin()).collect()
}

/// Every file below `folder` by its path.
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("a file below").to_string_lossy();
                found.insert(name.into_owned(), fs::read(&path).expect("a file"));
            }
        }
    }
    found
}

pub fn assert_same(actual: &Path, expected: &Path, kept: impl Fn(&str) -> bool) {
    let (actual, expected) = (files(actual), files(expected));
    let names = |files: &BTreeMap<String, Vec<u8>>| -> Vec<String> {
        files.keys().filter(|name| kept(name)).cloned().collect()
    };
    assert_eq!(names(&actual), names(&expected));
    for name in names(&actual) {
        assert!(actual[&name] == expected[&name], "{name} differs");
    }
}

pub fn copy(from: &Path, to: &Path) {
    for (name, bytes) in files(from) {
        let path = to.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }
}
