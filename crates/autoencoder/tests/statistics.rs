//! Latent statistics against directly computed ones.

use burn::tensor::{Device, Tensor, TensorData};
use latent_text_autoencoder::{AutoencoderError, LatentStatistics, LatentStatisticsAccumulator};

const DIM: usize = 3;

/// Batches of different sizes, far from zero in one dimension: 7 texts of 5 vectors.
fn batches() -> Vec<Vec<f32>> {
    let value = |index: usize| {
        let spread = ((index * 7919) % 101) as f32 / 50.0 - 1.0;
        match index % DIM {
            0 => spread,
            1 => 1e4 + 0.1 * spread,
            _ => -3.0 + 4.0 * spread,
        }
    };
    let mut next = 0;
    [1, 4, 2]
        .into_iter()
        .map(|texts| {
            let first = next;
            next += texts * 5 * DIM;
            (first..next).map(value).collect()
        })
        .collect()
}

fn statistics() -> LatentStatistics {
    let mut accumulator = LatentStatisticsAccumulator::new(DIM);
    for values in batches() {
        accumulator.add_values(&values);
    }
    accumulator.finish().unwrap()
}

fn all_values() -> Vec<f64> {
    batches().into_iter().flatten().map(f64::from).collect()
}

#[test]
fn they_are_those_of_the_whole_set() {
    let statistics = statistics();
    let values = all_values();
    let count = values.len() / DIM;
    assert_eq!(statistics.count, count as u64);
    let means: Vec<f64> = (0..DIM)
        .map(|dim| values.iter().skip(dim).step_by(DIM).sum::<f64>() / count as f64)
        .collect();
    for (dim, (found, expected)) in statistics.mean.iter().zip(&means).enumerate() {
        assert!((f64::from(*found) / expected - 1.0).abs() < 1e-6, "{dim}: {found} {expected}");
    }
    let squares: f64 =
        values.iter().enumerate().map(|(i, value)| (value - means[i % DIM]).powi(2)).sum();
    let scale = (squares / values.len() as f64).sqrt();
    assert!((f64::from(statistics.scale) / scale - 1.0).abs() < 1e-6, "{statistics:?} {scale}");
}

#[test]
fn normalised_latents_have_mean_0_and_one_global_variance_of_1_and_can_be_undone() {
    let device = Device::default();
    // Without the offset of 1e4, under which f32 latents themselves have few digits.
    let values: Vec<f32> = all_values()
        .iter()
        .enumerate()
        .map(|(i, &value)| if i % DIM == 1 { value - 1e4 } else { value } as f32)
        .collect();
    let mut accumulator = LatentStatisticsAccumulator::new(DIM);
    accumulator.add_values(&values);
    let statistics = accumulator.finish().unwrap();

    let latents = Tensor::<3>::from_data(TensorData::new(values, [7, 5, DIM]), &device);
    let normalised = statistics.normalise(latents.clone());
    let means = normalised.clone().mean_dims(&[0, 1]).abs().max().into_scalar::<f32>();
    assert!(means < 1e-5, "{means}");
    let variance = normalised.clone().square().mean().into_scalar::<f32>();
    assert!((variance - 1.0).abs() < 1e-4, "{variance}");
    let back = statistics.denormalise(normalised);
    assert!((back - latents).abs().max().into_scalar::<f32>() < 1e-5);
}

#[test]
fn equal_latents_are_divided_by_a_small_number_and_not_by_zero() {
    let statistics = LatentStatistics { mean: vec![2.0; DIM], scale: 0.0, count: 1 };
    let latents = Tensor::<3>::full([1, 1, DIM], 3.0, &Device::default());
    let normalised = statistics.normalise(latents);
    assert!((normalised.max().into_scalar::<f32>() / 1e5 - 1.0).abs() < 1e-5);
}

#[test]
fn no_latents_and_broken_latents_are_errors() {
    let accumulator = LatentStatisticsAccumulator::new(DIM);
    assert!(matches!(accumulator.finish(), Err(AutoencoderError::NoLatents)));
    let mut accumulator = LatentStatisticsAccumulator::new(DIM);
    accumulator.add_values(&[1.0, f32::NAN, 2.0]);
    assert!(matches!(accumulator.finish(), Err(AutoencoderError::NotFinite)));
}

#[test]
fn they_survive_json() {
    let statistics = statistics();
    let text = serde_json::to_string(&statistics).unwrap();
    assert_eq!(serde_json::from_str::<LatentStatistics>(&text).unwrap(), statistics);
}
