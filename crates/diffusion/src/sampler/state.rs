use burn::tensor::Tensor;

use crate::NoiseLevel;

/// All that changes during a sampling run.
#[derive(Debug, Clone)]
pub struct SamplerState<const D: usize = 3> {
    pub(super) z: Tensor<D>,
    /// What a stage told to keep.
    pub(super) kept: Option<Tensor<D>>,
    /// Estimates of `x0`, newest first.
    pub(super) x0: Vec<Tensor<D>>,
    /// Estimates of `eps`, newest first; empty for samplers that look at the newest alone.
    pub(super) eps: Vec<Tensor<D>>,
    pub(super) level: Option<NoiseLevel>,
    pub(super) calls: usize,
    pub(super) step: usize,
}

impl<const D: usize> SamplerState<D> {
    /// The data, `[batch, ..]`: noised during the run, the result after its last step.
    pub fn z(&self) -> &Tensor<D> {
        &self.z
    }

    /// The latest estimate of the clean data, `[batch, ..]`; `None` before the first network call.
    pub fn x0(&self) -> Option<&Tensor<D>> {
        self.x0.first()
    }

    /// Number of steps taken.
    pub fn step(&self) -> usize {
        self.step
    }

    /// Number of answers of the network so far.
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// The noise level that the latest estimate was made at; `None` before the first network call.
    pub fn level(&self) -> Option<NoiseLevel> {
        self.level
    }

    /// The data without the rest of the state.
    pub fn into_z(self) -> Tensor<D> {
        self.z
    }
}
