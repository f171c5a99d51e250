//! Sums over all dimensions of a sample, kept as dimensions of length 1.

use burn::tensor::Tensor;

/// The sum of every sample of `x`, of shape `[batch, ..]`, as `[batch, 1, ..]`.
pub(super) fn sum<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let mut shape = [1; D];
    shape[0] = x.dims()[0];
    let per_sample = x.dims()[1..].iter().product::<usize>();
    x.reshape([shape[0], per_sample]).sum_dim(1).reshape(shape)
}

/// The l2 norm of every sample.
pub(super) fn norm<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    sum(x.square()).sqrt()
}

/// The standard deviation of every sample over its own values.
pub(super) fn deviation<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let count = x.dims()[1..].iter().product::<usize>() as f64;
    let mean = sum(x.clone()) / count;
    (sum((x - mean).square()) / count).sqrt()
}
