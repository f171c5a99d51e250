use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};

use crate::level::log_sigmoid;

pub(super) fn uniform<R: Rng + ?Sized>(batch: usize, rng: &mut R) -> Vec<f64> {
    (0..batch).map(|_| rng.random()).collect()
}

pub(super) fn low_discrepancy<R: Rng + ?Sized>(batch: usize, rng: &mut R) -> Vec<f64> {
    // The set {(u + i / batch) mod 1} has the same offset from the start of every stratum.
    let offset: f64 = rng.random();
    let mut times: Vec<f64> = (0..batch).map(|i| (i as f64 + offset) / batch as f64).collect();
    times.shuffle(rng);
    times
}

pub(super) fn logit_normal<R: Rng + ?Sized>(
    mean: f64,
    std: f64,
    batch: usize,
    rng: &mut R,
) -> Vec<f64> {
    let normal = StandardNormal.sample_iter(rng).take(batch);
    normal.map(|n: f64| log_sigmoid(mean + std * n).exp()).collect()
}
