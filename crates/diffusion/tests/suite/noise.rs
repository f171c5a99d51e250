use latent_text_diffusion::SampleNoise;

use crate::support::{device, values};

/// Two draws of every sample, one row a sample.
fn draws(seed: u64, samples: &[u64]) -> Vec<Vec<f32>> {
    let mut noise = SampleNoise::new(seed, samples.iter().copied());
    let shape = [samples.len(), 3, 5];
    let first = values(noise.normal(shape, &device()));
    let second = values(noise.normal(shape, &device()));
    let rows = first.chunks(15).zip(second.chunks(15));
    rows.map(|(first, second)| [first, second].concat()).collect()
}

#[test]
fn a_sample_gets_the_same_noise_in_every_batch() {
    let batch = draws(7, &[0, 1, 2, 3, 4, 5]);
    assert_eq!(draws(7, &[4])[0], batch[4]);
    assert_eq!(draws(7, &[5, 2]), [batch[5].clone(), batch[2].clone()]);
}

#[test]
fn samples_seeds_and_draws_differ() {
    let batch = draws(7, &[0, 1, u64::MAX]);
    assert_ne!(batch[0], batch[1]);
    assert_ne!(batch[0], batch[2]);
    assert_ne!(batch[0][..15], batch[0][15..]);
    assert_ne!(draws(8, &[0])[0], batch[0]);
}

#[test]
fn noise_is_standard_normal() {
    let mut noise = SampleNoise::new(1, 0..400);
    let x = values(noise.normal([400, 500], &device()));
    let moment =
        |power: i32| x.iter().map(|&x| f64::from(x).powi(power)).sum::<f64>() / x.len() as f64;
    // Four standard errors of each moment at 200,000 values.
    assert!(moment(1).abs() < 0.009);
    assert!((moment(2) - 1.0).abs() < 0.0127);
    assert!((moment(4) - 3.0).abs() < 0.088);

    // Neighbouring samples are not correlated.
    let pairs = x.chunks(500).zip(x[500..].chunks(500)).step_by(2);
    let products: f64 =
        pairs.flat_map(|(a, b)| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b))).sum();
    assert!((products / 100_000.0).abs() < 0.0127);
}

#[test]
#[should_panic(expected = "noise of shape [2, 3] asked of 4 samples")]
fn the_batch_must_be_that_of_the_samples() {
    SampleNoise::new(0, 0..4).normal([2, 3], &device());
}
