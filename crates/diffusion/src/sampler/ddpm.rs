use burn::tensor::Tensor;

use super::{Sampler, Transition};

/// Ancestral sampling (Ho et al., 2020) with the larger of the two variances: with
/// `r = alpha / alpha'` and standard normal noise `n`,
/// `z' = (z - (1 - r) / sqrt(1 - alpha) eps) / sqrt(r) + sqrt(1 - r) n`.
///
/// Computed in the equal form
/// `z' = sqrt(alpha') x0 + sqrt(r) (1 - alpha') / sqrt(1 - alpha) eps + sqrt(1 - r) n`.
/// In the first form the large terms `z` and `eps` cancel at the first steps, where `r` is small,
/// and the division by `sqrt(r)` magnifies the rounding errors that are left.
#[derive(Debug, Clone, Copy)]
pub struct Ddpm;

impl Sampler for Ddpm {
    fn step(&self, transition: Transition, noise: &mut dyn FnMut() -> Tensor<3>) -> Tensor<3> {
        let Transition { from, to, x0, eps, .. } = transition;
        let log_ratio = from.log_alpha() - to.log_alpha();
        let eps_factor = (0.5 * log_ratio).exp() * to.noise().powi(2) / from.noise();
        let noise_factor = (-log_ratio.exp_m1()).max(0.0).sqrt();
        x0 * to.signal() + eps * eps_factor + noise() * noise_factor
    }
}
