use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use burn::module::Module;
use burn::nn::{LayerNormConfig, LinearConfig};
use burn::tensor::{Device, FloatDType};
use latent_text_testing::device_turn;
use latent_text_training::TrainerConfig;
use latent_text_training::optimisation::{
    AdamWConfig, Decay, Ema, EmaConfig, FlatLayout, LearningRateConfig,
};
use latent_text_training::report::read_metrics;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::common::{
    INPUTS, OUTPUTS, Pairs, Place, Regression, finish, largest_difference, layer, parameters,
    values, vector,
};

const TOLERANCE: f32 = 1e-6;

/// Reads a file that `fixtures/make_fixtures.py` wrote.
fn fixture<T: DeserializeOwned>(name: &str) -> T {
    let path = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap())
        .join("tests/fixtures")
        .join(name);
    let text = std::fs::read_to_string(&path).expect("the fixture is there");
    serde_json::from_str(&text).expect("the fixture is whole")
}

fn layout(device: &Device) -> FlatLayout {
    FlatLayout::of(&LinearConfig::new(INPUTS, OUTPUTS).init(device))
}

#[derive(Deserialize)]
struct AdamWCase {
    config: AdamWConfig,
    start: Vec<f32>,
    steps: Vec<AdamWStep>,
}

#[derive(Deserialize)]
struct AdamWStep {
    rate: f64,
    gradient: Vec<f32>,
    norm: f32,
    after: Vec<f32>,
}

#[test]
fn adamw_and_clipping_are_those_of_pytorch() {
    let device = Device::default();
    for case in fixture::<Vec<AdamWCase>>("adamw.json") {
        let mut optimizer = case.config.init(&layout(&device), &device);
        let mut parameters = vector(&case.start, &device);
        for (index, step) in case.steps.iter().enumerate() {
            // Going on from a snapshot is the same as going on.
            let mut resumed = case.config.init(&layout(&device), &device);
            resumed.restore(optimizer.snapshot());
            optimizer = resumed;
            let gradient = vector(&step.gradient, &device);
            let (stepped, norm) = optimizer.step(step.rate, parameters, gradient, None);
            let difference = largest_difference(&values(&stepped), &step.after);
            assert!(difference < TOLERANCE, "step {index} of {:?}: {difference}", case.config);
            assert!((values(&norm)[0] / step.norm - 1.0).abs() < TOLERANCE);
            parameters = stepped;
        }
    }
}

#[test]
fn only_parameters_of_two_dimensions_are_decayed() {
    let device = Device::default();
    let linear = layout(&device).decayed(&device);
    assert_eq!(linear.ranges(), std::slice::from_ref(&(0..INPUTS * OUTPUTS)));
    let norm = FlatLayout::of(&LayerNormConfig::new(5).init(&device));
    assert!(norm.decayed(&device).ranges().is_empty());
}

#[derive(Deserialize)]
struct ScheduleCase {
    decay: Decay,
    warmup: u64,
    peak: f64,
    rates: Vec<f64>,
}

#[test]
fn learning_rates_are_those_of_transformers() {
    for ScheduleCase { decay, warmup, peak, rates } in
        fixture::<Vec<ScheduleCase>>("schedules.json")
    {
        let config = LearningRateConfig { peak, warmup_steps: warmup, decay };
        for (step, expected) in rates.iter().enumerate() {
            let rate = config.at(step as u64, rates.len() as u64);
            assert!((rate - expected).abs() < 1e-12, "step {step} of {config:?}: {rate}");
        }
    }
}

#[derive(Deserialize)]
struct EmaCase {
    config: EmaConfig,
    start: Vec<f32>,
    updates: Vec<EmaUpdate>,
}

#[derive(Deserialize)]
struct EmaUpdate {
    parameters: Vec<f32>,
    average: Vec<f32>,
}

#[test]
fn the_running_average_is_that_of_ema_pytorch() {
    let device = Device::default();
    for case in fixture::<Vec<EmaCase>>("ema.json") {
        let mut ema = Ema::new(case.config.clone(), vector(&case.start, &device));
        let still = AdamWConfig { weight_decay: 0.0, ..AdamWConfig::default() };
        let mut optimizer = still.init(&layout(&device), &device);
        for (index, update) in case.updates.iter().enumerate() {
            let parameters = vector(&update.parameters, &device);
            let gradient = parameters.zeros_like();
            let (unchanged, _) = optimizer.step(0.0, parameters, gradient, Some(&mut ema));
            assert_eq!(values(&unchanged), update.parameters);
            let difference = largest_difference(&values(&ema.average), &update.average);
            assert!(difference < 2e-6, "update {index} of {:?}: {difference}", case.config);
        }
        assert_eq!(ema.updates, case.updates.len() as u64);
    }
}

#[test]
fn the_decay_reaches_its_known_values() {
    // ema-pytorch's own figures for power 3/4: 0.999 at 10,000 steps, 0.9999 at 215,400.
    let config = EmaConfig { decay: 1.0, ..EmaConfig::default() };
    for (steps, decay) in [(10_000, 0.999), (215_400, 0.9999)] {
        let reached = config.decay_at(config.update_after + steps);
        assert!((reached - decay).abs() < 1e-3 * (1.0 - decay), "{reached} at {steps}");
    }
    assert_eq!(EmaConfig::default().decay_at(1_000_000), 0.9999);
}

#[derive(Deserialize)]
struct TrainingCase {
    trainer: TrainerConfig,
    start: Vec<f32>,
    batches: Vec<Batch>,
    losses: Vec<f64>,
    norms: Vec<f64>,
    parameters: Vec<f32>,
    average: Vec<f32>,
}

#[derive(Deserialize)]
struct Batch {
    x: Vec<f32>,
    y: Vec<f32>,
}

#[test]
fn a_whole_training_is_that_of_pytorch() {
    let _turn = device_turn();
    let device = Device::default();
    let case: TrainingCase = fixture("training.json");
    let batches: Vec<Pairs> =
        case.batches.into_iter().map(|Batch { x, y }| Pairs { x, y }).collect();
    let stage = Regression::new(&device, move |index| batches[index as usize].clone());
    for (ema, expected) in [(case.trainer.ema.clone(), &case.average), (None, &case.parameters)] {
        let folder = tempfile::tempdir().expect("a folder");
        let config = TrainerConfig { ema, ..case.trainer.clone() };
        let stop = AtomicBool::new(false);
        let place = Place { folder: folder.path(), device: &device, stop: &stop };
        let model = finish(&stage, &case.start, &config, &place.run()).expect("a training");
        let difference = largest_difference(&parameters(&model), expected);
        // Twenty steps in f32.
        assert!(difference < 4e-6, "{difference}");
        let lines = read_metrics(&folder.path().join("metrics.jsonl")).expect("metrics");
        let logged = |name: &str| -> Vec<f64> {
            lines.iter().filter_map(|line| line.values.get(name).copied().flatten()).collect()
        };
        for (name, expected) in [("loss", &case.losses), ("gradient_norm", &case.norms)] {
            let logged = logged(name);
            assert_eq!(logged.len(), expected.len());
            for (logged, expected) in logged.iter().zip(expected) {
                assert!((logged / expected - 1.0).abs() < 1e-5, "{name} {logged} for {expected}");
            }
        }
        let rates = logged("learning_rate");
        assert!(
            rates[..5]
                .iter()
                .zip([0.0, 0.0125, 0.025, 0.0375, 0.05])
                .all(|(a, b)| (a - b).abs() < 1e-15)
        );
    }
}

#[test]
fn a_module_comes_back_from_the_flat_vector() {
    let device = Device::default();
    let start: Vec<f32> = (0..INPUTS * OUTPUTS + OUTPUTS).map(|index| index as f32 / 7.0).collect();
    let linear = layer(&start, &device);
    assert_eq!(values(&linear.weight.val()), start[..INPUTS * OUTPUTS]);
    let bias = linear.bias.as_ref().expect("a bias").val();
    assert_eq!(values(&bias), start[INPUTS * OUTPUTS..]);
    assert_eq!(parameters(&linear), start);
    let layout = layout(&device);
    let half = layout.scatter(linear, &vector(&start, &device), FloatDType::BF16, true);
    assert!(half.weight.val().is_require_grad());
    // Nine significant bits at most.
    let difference = largest_difference(&parameters(&half), &start);
    assert!(difference > 0.0 && difference <= 2.3 / 256.0, "{difference}");
}

#[test]
fn gradients_of_unused_parameters_are_zero() {
    let device = Device::default();
    let layout = layout(&device);
    let linear = layer(&crate::common::start(), &device);
    let linear = layout.scatter(linear.clone(), &layout.gather(&linear), FloatDType::F32, true);
    let loss = linear.weight.val().square().sum();
    let gradients = values(&layout.gather_gradients(&linear, loss.backward()));
    let expected: Vec<f32> = crate::common::start()
        .iter()
        .enumerate()
        .map(|(index, value)| if index < INPUTS * OUTPUTS { 2.0 * value } else { 0.0 })
        .collect();
    assert!(largest_difference(&gradients, &expected) < 1e-6);
}

#[test]
fn parameters_that_are_not_to_be_trained_have_no_place_in_the_vector() {
    let device = Device::default();
    let start = crate::common::start();
    let mut linear = layer(&start, &device);
    linear.bias = linear.bias.map(|bias| bias.no_grad());
    let layout = FlatLayout::of(&linear);
    assert_eq!(layout.len(), INPUTS * OUTPUTS);
    assert_eq!(values(&layout.gather(&linear)), start[..INPUTS * OUTPUTS]);

    let zeros = vector(&[0.0; INPUTS * OUTPUTS], &device);
    let trained = layout.scatter(linear, &zeros, FloatDType::F32, true);
    let bias = trained.bias.as_ref().expect("a bias").val();
    assert!(!bias.is_require_grad() && bias.is_autodiff());
    let loss = (trained.weight.val() + 1.0).square().sum() + bias.square().sum();
    let gradients = layout.gather_gradients(&trained, loss.backward());
    assert_eq!(values(&gradients), [2.0; INPUTS * OUTPUTS]);
    let plain = layout.scatter(trained, &zeros, FloatDType::F32, false);
    assert_eq!(FlatLayout::of(&plain), layout);
    let bias = plain.bias.as_ref().expect("a bias").val();
    assert!(!bias.is_autodiff());
    assert_eq!(values(&bias), start[INPUTS * OUTPUTS..]);
}
