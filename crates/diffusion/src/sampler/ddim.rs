use burn::tensor::Tensor;

use super::{Sampler, Transition};

/// DDIM with eta 0 (Song et al., 2021): deterministic,
/// `z' = sqrt(alpha') x0 + sqrt(1 - alpha') eps`.
#[derive(Debug, Clone, Copy)]
pub struct Ddim;

impl Sampler for Ddim {
    fn step(&self, transition: Transition, _: &mut dyn FnMut() -> Tensor<3>) -> Tensor<3> {
        let Transition { to, x0, eps, .. } = transition;
        x0 * to.signal() + eps * to.noise()
    }
}
