//! Tensors of random numbers, and how far found numbers are from expected ones.

use anyhow::{Context, Result};
use burn::tensor::{Device, Distribution, FloatDType, Tensor};

use crate::arguments::NumberFormat;

/// Standard normal numbers.
pub fn normal(shape: [usize; 2], device: &Device, format: NumberFormat) -> Tensor<2> {
    let values = Tensor::<2>::random(shape, Distribution::Normal(0.0, 1.0), device);
    values.cast(format.dtype())
}

/// A tensor's numbers, in f32.
pub fn numbers<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    let tensor = tensor.cast(FloatDType::F32);
    tensor.try_into_vec_as::<f32>().context("cannot read the device's answer")
}

/// The largest difference, relative to the largest expected value or to `least` if that is larger.
pub fn error(found: &[f32], expected: &[f32], least: f32) -> f32 {
    let differences = found.iter().zip(expected).map(|(found, expected)| (found - expected).abs());
    differences.fold(0.0, larger) / largest(expected).max(least)
}

/// The largest difference of two tensors, relative to the largest expected value.
pub fn error_of<const D: usize>(found: Tensor<D>, expected: Tensor<D>) -> Result<f32> {
    Ok(error(&numbers(found)?, &numbers(expected)?, 0.0))
}

/// The largest absolute value.
pub fn largest(values: &[f32]) -> f32 {
    values.iter().map(|value| value.abs()).fold(0.0, f32::max)
}

/// Not `max`, which passes over what is no number.
pub fn larger(most: f32, next: f32) -> f32 {
    if next > most || next.is_nan() { next } else { most }
}
