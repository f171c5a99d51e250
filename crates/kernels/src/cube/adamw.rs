//! A step of AdamW with clipping and running average, in one pass over flat vectors.

use burn::backend::cubecl::dtype_to_elem_type;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

use super::empty;
use crate::AdamWStep;

const UNITS: u32 = 256;

#[derive(CubeType, CubeLaunch, Clone, Copy)]
struct Factors {
    beta_1: f32,
    beta_2: f32,
    epsilon: f32,
    learning_rate: f32,
    /// `learning_rate * weight_decay`
    decay: f32,
    /// `1 / (1 - beta^time)`
    correction_1: f32,
    correction_2: f32,
    /// 0 switches clipping off.
    clip: f32,
    average_decay: f32,
}

/// Whether weight decay acts on an element: between an even and an odd border, in their order.
#[cube]
fn is_decayed(borders: &Tensor<i32>, index: usize, count: u32) -> bool {
    let mut low = 0u32;
    let mut high = count;
    while low < high {
        let middle = (low + high) / 2;
        if borders[middle as usize] as usize <= index {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low % 2 == 1
}

#[cube(launch)]
fn adamw_kernel<G: Float>(
    parameters: &mut Tensor<f32>,
    gradient: &Tensor<G>,
    moment_1: &mut Tensor<f32>,
    moment_2: &mut Tensor<f32>,
    average: &mut Tensor<f32>,
    norm: &Tensor<f32>,
    borders: &Tensor<i32>,
    factors: Factors,
    length: u32,
    border_count: u32,
    #[comptime] averages: bool,
    #[define(G)] _dtype: ElemType,
) {
    let index = ABSOLUTE_POS;
    if index >= length as usize {
        terminate!();
    }
    let mut g = f32::cast_from(gradient[index]);
    if factors.clip > 0.0f32 {
        g *= f32::min(factors.clip / (norm[0] + 1e-6f32), 1.0f32);
    }
    let mut parameter = parameters[index];
    if is_decayed(borders, index, border_count) {
        parameter -= parameter * factors.decay;
    }
    let first = moment_1[index] * factors.beta_1 + g * (1.0f32 - factors.beta_1);
    let second = moment_2[index] * factors.beta_2 + g * g * (1.0f32 - factors.beta_2);
    let deviation = f32::sqrt(second * factors.correction_2) + factors.epsilon;
    parameter -= factors.learning_rate * first * factors.correction_1 / deviation;
    parameters[index] = parameter;
    moment_1[index] = first;
    moment_2[index] = second;
    if comptime!(averages) {
        let decay = factors.average_decay;
        average[index] = average[index] * decay + parameter * (1.0f32 - decay);
    }
}

/// The vectors after a step: parameters, moments and average (none if there was none).
pub(super) fn adamw(
    vectors: [CubeTensor; 3],
    average: Option<CubeTensor>,
    gradient: CubeTensor,
    norm: CubeTensor,
    borders: CubeTensor,
    step: AdamWStep,
) -> ([CubeTensor; 3], Option<CubeTensor>) {
    let [parameters, moment_1, moment_2] = vectors.map(own);
    let average = average.map(own);
    let client = parameters.client.clone();
    let dtype = dtype_to_elem_type(gradient.dtype);
    let length = parameters.meta.shape()[0];
    let border_count = borders.meta.shape()[0];
    let averages = average.is_some();
    let factors = FactorsLaunch::new(
        step.beta_1,
        step.beta_2,
        step.epsilon,
        step.learning_rate as f32,
        (step.learning_rate * step.weight_decay) as f32,
        (1.0 / (1.0 - f64::from(step.beta_1).powf(step.time as f64))) as f32,
        (1.0 / (1.0 - f64::from(step.beta_2).powf(step.time as f64))) as f32,
        step.gradient_clip as f32,
        step.average_decay as f32,
    );
    adamw_kernel::launch(
        &client,
        calculate_cube_count_elemwise(&client, length, CubeDim::new_1d(UNITS)),
        CubeDim::new_1d(UNITS),
        parameters.clone().into_tensor_arg(),
        into_contiguous(gradient).into_tensor_arg(),
        moment_1.clone().into_tensor_arg(),
        moment_2.clone().into_tensor_arg(),
        average.clone().unwrap_or_else(|| empty(&parameters, [1])).into_tensor_arg(),
        norm.into_tensor_arg(),
        borders.into_tensor_arg(),
        factors,
        length as u32,
        border_count as u32,
        averages,
        dtype,
    );
    ([parameters, moment_1, moment_2], average)
}

/// The tensor itself if nobody else has it, else a copy that can be written to.
fn own(tensor: CubeTensor) -> CubeTensor {
    let tensor = into_contiguous(tensor);
    if tensor.can_mut() { tensor } else { tensor.copy() }
}
