//! Batches and losses against closed forms.

mod batches;
mod losses;
mod varying;

use burn::tensor::{Distribution, FloatDType};
use latent_text_denoiser::{DenoiserConfig, DenoisingNetworkConfig};
use latent_text_diffusion::{NoiseScheduleConfig, TimeSampling};
use latent_text_testing::device_turn;

use super::*;
use crate::optimisation::FlatLayout;
use crate::source::tests::{SOURCES, reader};

const TEXTS: usize = 12;
/// All texts.
const ALL: [i32; TEXTS] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
const ROWS: usize = 6;
const LATENTS: usize = 4;
const DIM: usize = 8;

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as::<f32>().expect("a float tensor")
}

fn stage(objective: DiffusionObjective, prediction: Prediction) -> DiffusionStage {
    let device = Device::default();
    device.seed(1);
    let latents = Tensor::random([TEXTS, LATENTS, DIM], Distribution::Default, &device);
    let latents = LatentSet::of(latents, (0..TEXTS).map(|text| text % 3).collect());
    let set = Arc::new(DiffusionSet { latents, sources: None });
    DiffusionStage {
        objective,
        schedule: NoiseScheduleConfig::default().init().expect("a schedule"),
        prediction,
        rescale_estimate: true,
        labels: Some(ClassLabels::new(["a", "b", "c"]).expect("labels")),
        times: TimeSampling::Uniform.init().expect("times"),
        steps: None,
        train: set.clone(),
        validation: set,
        batch_size: ROWS,
        seed: 3,
        device,
        decode_samples: Box::new(|_, _| Ok(Vec::new())),
    }
}

/// A denoiser whose parameters are all random, as fresh ones return zeros.
fn denoiser(trained: bool) -> DenoisingNetwork {
    denoiser_for(trained, None)
}

fn denoiser_for(trained: bool, source_dim: Option<usize>) -> DenoisingNetwork {
    let config = DenoiserConfig {
        latent_dim: DIM,
        max_latents: LATENTS,
        dim: 16,
        depth: 2,
        head_dim: 8,
        ff_mult: 2,
        time_dim_mult: 1,
        dense_connections: 1,
        dropout: 0.0,
        classes: Some(3),
        source_dim,
        ..DenoiserConfig::default()
    };
    randomised(config.into(), trained)
}

fn randomised(config: DenoisingNetworkConfig, trained: bool) -> DenoisingNetwork {
    let device = Device::default();
    let denoiser = config.init(&device);
    let layout = FlatLayout::of(&denoiser);
    device.seed(2);
    let random = Tensor::random([layout.len()], Distribution::Normal(0.0, 0.3), &device);
    layout.scatter(denoiser, &random, FloatDType::F32, trained)
}

/// The same stage with a source for each text, and the share of samples that lose theirs.
fn with_sources(stage: DiffusionStage, dropout: f64) -> DiffusionStage {
    let classes = stage.train.latents.classes().to_vec();
    let latents = LatentSet::of(stage.train.latents.select(&ALL).values, classes);
    let texts: Vec<&str> = SOURCES.into_iter().cycle().take(TEXTS).collect();
    let sources = SourceSet::new(reader(&stage.device), &texts, 8).expect("sources");
    let set = Arc::new(DiffusionSet { latents, sources: Some(sources) });
    let objective = DiffusionObjective { source_dropout: dropout, ..stage.objective.clone() };
    DiffusionStage { objective, train: set.clone(), validation: set, ..stage }
}
