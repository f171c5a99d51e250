//! Whether the fast paths of a device compute what the plain ones do: outputs and gradients of the
//! denoiser against those of the same weights on the CPU in f32, where it is compiled in, else in f32 on
//! the device itself.

use anyhow::{Result, ensure};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, FloatDType, Gradients, Tensor, TensorData};
use latent_text::denoiser::{
    Conditions, DenoiserConfig, DenoisingNetwork, NetworkTime, SelfCondition,
};
use latent_text::diffusion::SampleNoise;
use latent_text::training::optimisation::FlatLayout;
use latent_text_kernels::Graph;

use crate::arguments::NumberFormat;
use crate::numbers::{error, error_of, larger, largest, numbers};
use crate::shapes::Shapes;

const BATCH: usize = 4;
/// Fresh weights have zeros, behind which an error would not show.
const WEIGHT_NOISE: f32 = 0.02;
/// Gradients of a parameter are measured against its largest one, but against no less than this share of
/// the largest of all.
const LEAST_SHARE: f32 = 1e-3;

/// The largest errors of the output and of a parameter's gradient, relative to the largest value. On GPUs
/// products in f32 may be computed in TF32, which has ten binary digits; bf16 has seven.
fn tolerance(format: NumberFormat) -> [f32; 2] {
    match format {
        NumberFormat::Bf16 => [4e-2, 1e-1],
        _ => [1e-2, 2e-2],
    }
}

/// Runs of a graph: a plain one, the one that is recorded, and replays.
const GRAPH_RUNS: u64 = 6;

/// What a network answers.
struct Answer {
    output: Vec<f32>,
    /// By parameter, each with its path.
    gradients: Vec<(String, Vec<f32>)>,
}

impl Answer {
    fn names(&self) -> impl Iterator<Item = &String> {
        self.gradients.iter().map(|(name, _)| name)
    }
}

pub fn run(device: &Device, shapes: &Shapes, formats: &[NumberFormat]) -> Result<()> {
    let subject = Subject::new(shapes);
    NumberFormat::F32.choose();
    let expected = subject.answer(&reference_device(device), NumberFormat::F32)?;
    let mut failed = Vec::new();
    for &format in formats {
        format.choose();
        let found = subject.answer(device, format)?;
        ensure!(found.names().eq(expected.names()), "{format}: other parameters have a gradient");
        let output = error(&found.output, &expected.output, 0.0);
        let (name, gradient) = worst_gradient(&found, &expected);
        let [for_output, for_gradient] = tolerance(format);
        println!("{format} output: {output:.2e} (at most {for_output:.0e})");
        println!("{format} gradients: {gradient:.2e} (at most {for_gradient:.0e}), of {name}");
        // Written so that a comparison with no number fails.
        if !(output <= for_output && gradient <= for_gradient) {
            failed.push(format.to_string());
        }
    }
    ensure!(failed.is_empty(), "beyond the tolerance in {}", failed.join(" and "));
    formats.iter().try_for_each(|&format| subject.check_graph(device, format))
}

/// The network and its input, as numbers of the host.
struct Subject {
    config: DenoiserConfig,
    shape: [usize; 3],
    layout: FlatLayout,
    weights: Vec<f32>,
}

impl Subject {
    fn new(shapes: &Shapes) -> Self {
        let config = DenoiserConfig { dropout: 0.0, ..shapes.denoiser.clone() };
        let device = Device::default();
        let fresh = DenoisingNetwork::from(config.init(&device));
        let layout = FlatLayout::of(&fresh);
        let noise: Tensor<2> = SampleNoise::new(1, [0]).normal([1, layout.len()], &device);
        let weights = layout.gather(&fresh) + noise.flatten(0, 1) * WEIGHT_NOISE;
        let weights = weights.try_into_vec_as::<f32>().expect("weights are f32");
        Self { config, shape: shapes.of_batch(BATCH), layout, weights }
    }

    fn network(&self, device: &Device, format: NumberFormat, trained: bool) -> DenoisingNetwork {
        let weights = TensorData::new(self.weights.clone(), [self.weights.len()]);
        let weights = Tensor::from_data(weights, device);
        let fresh = DenoisingNetwork::from(self.config.init(device));
        self.layout.scatter(fresh, &weights, format.dtype(), trained)
    }

    /// Compares the outputs of a graph with those of plain calls, after all its runs.
    fn check_graph(&self, device: &Device, format: NumberFormat) -> Result<()> {
        format.choose();
        let network = self.network(device, format, false);
        let predict = |(z, alpha, estimate): (Tensor<3>, Tensor<1>, Tensor<3>)| {
            let self_cond = Some(SelfCondition { estimate, present: None });
            let conditions = Conditions { self_cond, ..Conditions::default() };
            network.forward(z, NetworkTime { alpha, step: None }, conditions)
        };
        let mut graph = Graph::new(device, predict);
        let mut runs = Vec::new();
        for run in 0..GRAPH_RUNS {
            let mut source = SampleNoise::new(3 + run, 0..BATCH as u64);
            let [z, estimate] = [(); 2].map(|()| source.normal(self.shape, device));
            let alpha = Tensor::full([BATCH], 0.1 + 0.1 * run as f64, device);
            let inputs = (z, alpha, estimate);
            runs.push((inputs.clone(), graph.run(inputs)));
        }
        let recorded = if graph.is_recorded() { "recorded and replayed" } else { "NOT RECORDED" };
        let mut worst = 0.0;
        for (inputs, found) in runs {
            worst = larger(worst, error_of(found, predict(inputs))?);
        }
        let most = tolerance(format)[0];
        println!("{format} graph ({recorded}): {worst:.2e} (at most {most:.0e})");
        ensure!(worst <= most, "beyond the tolerance in {format} as a graph");
        ensure!(graph.is_recorded() || !records(device), "a denoiser was not recorded");
        Ok(())
    }

    fn answer(&self, device: &Device, format: NumberFormat) -> Result<Answer> {
        let network = self.network(device, format, true);
        let mut source = SampleNoise::new(2, 0..BATCH as u64);
        let [z, estimate, target] = [(); 3].map(|()| source.normal(self.shape, device).autodiff());
        let alpha = Tensor::<1>::from_floats([0.05, 0.3, 0.7, 0.95], device).autodiff();
        let self_cond = Some(SelfCondition { estimate, present: None });
        let conditions = Conditions { self_cond, ..Conditions::default() };
        let output = network.forward(z, NetworkTime { alpha, step: None }, conditions);
        let output = output.cast(FloatDType::F32);
        let loss = (output.clone() - target).square().mean();
        let mut reader = GradientReader::new(loss.backward());
        network.visit(&mut reader);
        Ok(Answer { output: numbers(output.inner())?, gradients: reader.read? })
    }
}

/// Whether this is a device that must record graphs.
pub fn records(device: &Device) -> bool {
    format!("{device:?}").to_lowercase().contains("cuda")
}

/// The parameter whose gradient differs most, and its error.
fn worst_gradient(found: &Answer, expected: &Answer) -> (String, f32) {
    let values = expected.gradients.iter().map(|(_, values)| largest(values));
    let least = LEAST_SHARE * values.fold(0.0, f32::max);
    let pairs = found.gradients.iter().zip(&expected.gradients);
    let errors =
        pairs.map(|((name, found), (_, expected))| (name.clone(), error(found, expected, least)));
    errors.max_by(|(_, one), (_, other)| one.total_cmp(other)).unwrap_or_default()
}

/// Reads the gradients of a module's parameters.
struct GradientReader {
    gradients: Gradients,
    path: Vec<String>,
    read: Result<Vec<(String, Vec<f32>)>>,
}

impl GradientReader {
    fn new(gradients: Gradients) -> Self {
        Self { gradients, path: Vec::new(), read: Ok(Vec::new()) }
    }
}

impl ModuleVisitor for GradientReader {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Ok(read) = &mut self.read else { return };
        // A parameter that took no part in the loss has none.
        let Some(gradient) = param.val().grad(&self.gradients) else { return };
        match numbers(gradient) {
            Ok(values) => read.push((self.path.join("."), values)),
            Err(error) => self.read = Err(error),
        }
    }
}

#[cfg(feature = "flex")]
fn reference_device(_: &Device) -> Device {
    Device::flex()
}

#[cfg(not(feature = "flex"))]
fn reference_device(device: &Device) -> Device {
    device.clone()
}
