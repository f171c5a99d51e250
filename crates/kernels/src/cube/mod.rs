//! The operations on CubeCL's runtimes: CUDA, Vulkan, Metal, WebGPU.

mod adamw;
pub(crate) mod attention;
mod column_sums;
mod decoding;
mod dropout;
pub(crate) mod few_queries;
mod flat;
mod gated_gelu;
mod gelu;
mod graph;
mod linear;
mod norm;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::client::Client;

use self::attention::Operands;
use self::norm::{Parameters, Surroundings};
use crate::decoding::PastRule;
use crate::ops::{DecodingOps, FusedGradients, FusedOps};
use crate::{AdamWStep, Attention, DropRule};

/// The type of a tensor on these runtimes, under the name that the trait uses.
type Float = FloatTensor<CubeBackend>;

/// Bytes that a unit loads at once where it can.
const LOAD_BYTES: usize = 16;

/// Elements of a vector of which a row of `count` elements is made, of `element` bytes each.
fn width_of_vectors(count: usize, element: usize) -> usize {
    let widest = LOAD_BYTES / element;
    [8, 4, 2].into_iter().find(|&width| width <= widest && count.is_multiple_of(width)).unwrap_or(1)
}

/// A contiguous tensor without values, on the device and in the dtype of another.
fn empty(like: &CubeTensor, shape: impl Into<Shape>) -> CubeTensor {
    let (client, device) = (like.client.clone(), like.device.clone());
    empty_device_contiguous_dtype(client, device, shape.into(), like.dtype)
}

/// The same in f32.
fn empty_f32(like: &CubeTensor, shape: impl Into<Shape>) -> CubeTensor {
    let (client, device) = (like.client.clone(), like.device.clone());
    empty_device_contiguous_dtype(client, device, shape.into(), DType::F32)
}

/// Whether 32 units beside each other can add up numbers without shared memory.
fn has_planes_of_32(client: &Client) -> bool {
    let hardware = &client.properties().hardware;
    hardware.plane_size_min == 32
        && hardware.plane_size_max == 32
        && client.features().plane.contains(cubecl::features::Plane::Ops)
}

impl FusedOps for CubeBackend {
    fn product(x: Float, weight: Float) -> Float {
        linear::linear(x, weight, None, None)
    }

    fn product_with_bias(x: Float, weight: Float, bias: Float) -> Float {
        linear::linear(x, weight, Some(bias), None)
    }

    fn product_onto(x: Float, weight: Float, added: Float) -> Float {
        linear::linear(x, weight, None, Some(added))
    }

    fn norm(x: Float, gain: Float, bias: Float, epsilon: f64) -> Float {
        norm::norm(x, parameters(gain, Some(bias), epsilon), Surroundings::default())
    }

    fn norm_of_sum(x: Float, residual: Float, gain: Float, bias: Float, epsilon: f64) -> Float {
        norm::norm(x, parameters(gain, Some(bias), epsilon), sum_with(residual))
    }

    fn rms_norm(x: Float, gain: Float, epsilon: f64) -> Float {
        norm::norm(x, parameters(gain, None, epsilon), Surroundings::default())
    }

    fn modulated_norm(
        x: Float,
        gain: Float,
        bias: Float,
        scale_and_shift: Float,
        residual: Float,
        epsilon: f64,
    ) -> Float {
        let scale_and_shift = Some(scale_and_shift);
        let modulation = Surroundings { residual: Some(residual), scale_and_shift };
        norm::norm(x, parameters(gain, Some(bias), epsilon), modulation)
    }

    fn exact_gelu(x: Float) -> Float {
        gelu::gelu(x, None)
    }

    fn gated_gelu(x: Float, seed: Float, drop: DropRule) -> Float {
        gated_gelu::gated_gelu(x, None, seed_or_none(seed, drop), drop)
    }

    fn self_attention(qkv: Float, bias: Float, seed: Float, attention: Attention) -> Float {
        attention::attention(operands(qkv, None, bias, seed, attention), attention)
    }

    fn cross_attention(
        query: Float,
        key: Float,
        bias: Float,
        seed: Float,
        attention: Attention,
    ) -> Float {
        attention::attention(operands(query, Some(key), bias, seed, attention), attention)
    }
}

impl FusedGradients for CubeBackend {
    fn linear_input(dy: Float, weight: Float) -> Float {
        linear::input_gradient(dy, weight)
    }

    fn linear_weight(x: Float, dy: Float) -> Float {
        linear::weight_gradient(x, dy)
    }

    fn linear_weight_and_bias(x: Float, dy: Float) -> (Float, Float) {
        linear::weight_and_bias_gradients(x, dy)
    }

    fn norm_gradients(
        x: Float,
        gain: Float,
        bias: Float,
        dy: Float,
        epsilon: f64,
    ) -> (Float, Float, Float) {
        let parameters = parameters(gain, Some(bias), epsilon);
        let gradients = norm::norm_gradients(x, parameters, Surroundings::default(), dy);
        (gradients.x, gradients.gain, gradients.bias)
    }

    fn norm_of_sum_gradients(
        x: Float,
        residual: Float,
        gain: Float,
        bias: Float,
        dy: Float,
        epsilon: f64,
    ) -> (Float, Float, Float) {
        let parameters = parameters(gain, Some(bias), epsilon);
        let gradients = norm::norm_gradients(x, parameters, sum_with(residual), dy);
        (gradients.x, gradients.gain, gradients.bias)
    }

    fn rms_norm_gradients(x: Float, gain: Float, dy: Float, epsilon: f64) -> (Float, Float) {
        let parameters = parameters(gain, None, epsilon);
        let gradients = norm::norm_gradients(x, parameters, Surroundings::default(), dy);
        (gradients.x, gradients.gain)
    }

    fn modulated_norm_gradients(
        x: Float,
        gain: Float,
        bias: Float,
        scale_and_shift: Float,
        dy: Float,
        epsilon: f64,
    ) -> (Float, Float, Float, Float) {
        let parameters = parameters(gain, Some(bias), epsilon);
        let modulation = Surroundings { residual: None, scale_and_shift: Some(scale_and_shift) };
        let gradients = norm::norm_gradients(x, parameters, modulation, dy);
        let Some(modulation) = gradients.modulation else {
            unreachable!("a modulated norm has a gradient of its modulation")
        };
        (gradients.x, gradients.gain, gradients.bias, modulation)
    }

    fn exact_gelu_gradient(x: Float, dy: Float) -> Float {
        gelu::gelu(x, Some(dy))
    }

    fn gated_gelu_gradient(x: Float, seed: Float, dy: Float, drop: DropRule) -> Float {
        gated_gelu::gated_gelu(x, Some(dy), seed_or_none(seed, drop), drop)
    }

    fn self_attention_gradient(
        qkv: Float,
        bias: Float,
        seed: Float,
        dy: Float,
        attention: Attention,
    ) -> Float {
        let operands = operands(qkv, None, bias, seed, attention);
        attention::attention_gradients(operands, dy, attention).1
    }

    fn cross_attention_gradients(
        query: Float,
        key: Float,
        bias: Float,
        seed: Float,
        dy: Float,
        attention: Attention,
    ) -> (Float, Float) {
        let operands = operands(query, Some(key), bias, seed, attention);
        let (Some(query), key) = attention::attention_gradients(operands, dy, attention) else {
            unreachable!("queries of cross-attention have a gradient of their own")
        };
        (query, key)
    }

    fn adamw(
        parameters: Float,
        moment_1: Float,
        moment_2: Float,
        gradient: Float,
        norm: Float,
        borders: IntTensor<CubeBackend>,
        step: AdamWStep,
    ) -> (Float, Float, Float) {
        let vectors = [parameters, moment_1, moment_2];
        let ([parameters, moment_1, moment_2], _) =
            adamw::adamw(vectors, None, gradient, norm, borders, step);
        (parameters, moment_1, moment_2)
    }

    fn adamw_with_average(
        parameters: Float,
        moment_1: Float,
        moment_2: Float,
        average: Float,
        gradient: Float,
        norm: Float,
        borders: IntTensor<CubeBackend>,
        step: AdamWStep,
    ) -> (Float, Float, Float, Float) {
        let vectors = [parameters, moment_1, moment_2];
        let ([parameters, moment_1, moment_2], Some(average)) =
            adamw::adamw(vectors, Some(average), gradient, norm, borders, step)
        else {
            unreachable!("an average that went in comes out")
        };
        (parameters, moment_1, moment_2, average)
    }
}

impl DecodingOps for CubeBackend {
    fn attend_to_past(
        qkv: Float,
        keys_values: Float,
        rows: IntTensor<CubeBackend>,
        position: IntTensor<CubeBackend>,
        bias: Float,
        rule: PastRule,
    ) -> (Float, Float) {
        let bias = rule.biased.then_some(bias);
        decoding::attend_to_past(qkv, keys_values, rows, position, bias, rule)
    }

    fn cross_attention_of_few(
        query: Float,
        key: Float,
        bias: Float,
        attention: Attention,
    ) -> Float {
        let seed = query.clone();
        few_queries::attention(operands(query, Some(key), bias, seed, attention), attention)
    }
}

fn parameters(gain: Float, bias: Option<Float>, epsilon: f64) -> Parameters {
    Parameters { gain, bias, epsilon }
}

fn sum_with(residual: Float) -> Surroundings {
    Surroundings { residual: Some(residual), scale_and_shift: None }
}

/// The seed, or something that a kernel without dropout can bind in its place.
fn seed_or_none(seed: Float, drop: DropRule) -> Float {
    if drop.drops() { seed } else { empty_f32(&seed, [1]) }
}

fn operands(
    query: Float,
    key: Option<Float>,
    bias: Float,
    seed: Float,
    attention: Attention,
) -> Operands {
    let bias = attention.biased.then_some(bias);
    let seed = attention.drop.drops().then_some(seed);
    Operands { query, key, bias, seed }
}
