//! The operations on Flex, Burn's backend for CPUs, in f32: loops over all cores, compiled for the
//! instruction sets that processors have.
//!
//! Sums are formed in an order that does not depend on the number of threads.

mod adamw;
mod attention;
mod decoding;
mod dropout;
mod few_queries;
mod few_rows;
mod gated_gelu;
mod gelu;
mod linear;
mod norm;
mod simd;
mod tensor;
#[cfg(test)]
mod testing;
mod tile;

use burn::backend::flex::FlexTensor;
use burn::backend::ops::FloatTensorOps;
use burn::backend::{
    BackendTensor, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind, Flex,
};
use burn::tensor::{Shape, Tensor};

use self::adamw::{AdamWFactors, AdamWVectors, squared_norm};
use self::attention::{AttentionGradients, Bias, Rows};
use self::decoding::{Past, PastAttention};
use self::dropout::Dropping;
use self::norm::{LayerNorm, Modulation};
use self::tensor::{contiguous, forward, is_alone, own, slice, slice_mut, stored, tensor, zeros};
use crate::decoding::PastRule;
use crate::ops::{DecodingOps, FusedGradients, FusedNorm, FusedOps};
use crate::{AdamWStep, Attention, DropRule};

impl FusedOps for Flex {
    fn product(x: FlexTensor, weight: FlexTensor) -> FlexTensor {
        onto_rows(x, weight, |x, weight| linear::linear(x, weight, None))
    }

    fn product_with_bias(x: FlexTensor, weight: FlexTensor, bias: FlexTensor) -> FlexTensor {
        onto_rows(x, weight, |x, weight| linear::linear(x, weight, Some(bias)))
    }

    fn product_onto(x: FlexTensor, weight: FlexTensor, added: FlexTensor) -> FlexTensor {
        onto_rows(x, weight, |x, weight| linear::linear_onto(x, weight, flat(added)))
    }

    fn norm(x: FlexTensor, gain: FlexTensor, bias: FlexTensor, epsilon: f64) -> FlexTensor {
        let [x, gain, bias] = [x, gain, bias].map(contiguous);
        let norm = layer_norm(&gain, &bias, None, epsilon);
        let mut out = zeros_like(&x);
        norm.forward(slice(&x), None, &mut out);
        tensor(out, x.layout().shape().clone())
    }

    fn norm_of_sum(
        x: FlexTensor,
        residual: FlexTensor,
        gain: FlexTensor,
        bias: FlexTensor,
        epsilon: f64,
    ) -> FlexTensor {
        Self::norm(Self::float_add(x, residual), gain, bias, epsilon)
    }

    fn rms_norm(x: FlexTensor, gain: FlexTensor, epsilon: f64) -> FlexTensor {
        let [x, gain] = [x, gain].map(contiguous);
        let mut out = zeros_like(&x);
        let bias = zeros_like(&gain);
        rms(&gain, &bias, epsilon).forward(slice(&x), None, &mut out);
        tensor(out, x.layout().shape().clone())
    }

    fn modulated_norm(
        x: FlexTensor,
        gain: FlexTensor,
        bias: FlexTensor,
        scale_and_shift: FlexTensor,
        residual: FlexTensor,
        epsilon: f64,
    ) -> FlexTensor {
        let [x, gain, bias, modulation, residual] =
            [x, gain, bias, scale_and_shift, residual].map(contiguous);
        let norm = layer_norm(&gain, &bias, Some(&modulation), epsilon);
        let mut out = zeros_like(&x);
        norm.forward(slice(&x), Some(slice(&residual)), &mut out);
        tensor(out, x.layout().shape().clone())
    }

    fn exact_gelu(x: FlexTensor) -> FlexTensor {
        let x = contiguous(x);
        let mut out = zeros_like(&x);
        gelu::gelu(slice(&x), &mut out);
        tensor(out, x.layout().shape().clone())
    }

    fn gated_gelu(x: FlexTensor, seed: FlexTensor, drop: DropRule) -> FlexTensor {
        let x = contiguous(x);
        let inner = last(&x) / 2;
        let mut out = zeros(x.layout().num_elements() / 2);
        gated_gelu::gated_gelu(slice(&x), inner, dropping(&seed, drop), &mut out);
        tensor(out, with_last(&x, inner))
    }

    fn self_attention(
        qkv: FlexTensor,
        bias: FlexTensor,
        seed: FlexTensor,
        attention: Attention,
    ) -> FlexTensor {
        Operands::joined(qkv, bias, seed, attention).forward()
    }

    fn cross_attention(
        query: FlexTensor,
        key: FlexTensor,
        bias: FlexTensor,
        seed: FlexTensor,
        attention: Attention,
    ) -> FlexTensor {
        Operands::apart(query, key, bias, seed, attention).forward()
    }
}

impl FusedGradients for Flex {
    fn linear_input(dy: FlexTensor, weight: FlexTensor) -> FlexTensor {
        let shape = with_last(&dy, weight.layout().shape()[0]);
        linear::input_gradient(flat(dy), weight).reshape(shape)
    }

    fn linear_weight(x: FlexTensor, dy: FlexTensor) -> FlexTensor {
        linear::weight_gradient(flat(x), flat(dy))
    }

    fn linear_weight_and_bias(x: FlexTensor, dy: FlexTensor) -> (FlexTensor, FlexTensor) {
        linear::weight_and_bias_gradients(flat(x), flat(dy))
    }

    fn norm_gradients(
        x: FlexTensor,
        gain: FlexTensor,
        bias: FlexTensor,
        dy: FlexTensor,
        epsilon: f64,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let (dx, gain, bias, _) = norm_gradients(x, gain, bias, None, dy, epsilon);
        (dx, gain, bias)
    }

    fn norm_of_sum_gradients(
        x: FlexTensor,
        residual: FlexTensor,
        gain: FlexTensor,
        bias: FlexTensor,
        dy: FlexTensor,
        epsilon: f64,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        Self::norm_gradients(Self::float_add(x, residual), gain, bias, dy, epsilon)
    }

    fn rms_norm_gradients(
        x: FlexTensor,
        gain: FlexTensor,
        dy: FlexTensor,
        epsilon: f64,
    ) -> (FlexTensor, FlexTensor) {
        let [x, gain, dy] = [x, gain, dy].map(contiguous);
        let bias = zeros_like(&gain);
        let mut dx = zeros_like(&x);
        let gradients = rms(&gain, &bias, epsilon).backward(slice(&x), slice(&dy), &mut dx);
        let dim = gradients.gain.len();
        (tensor(dx, x.layout().shape().clone()), tensor(gradients.gain, [dim]))
    }

    fn modulated_norm_gradients(
        x: FlexTensor,
        gain: FlexTensor,
        bias: FlexTensor,
        scale_and_shift: FlexTensor,
        dy: FlexTensor,
        epsilon: f64,
    ) -> (FlexTensor, FlexTensor, FlexTensor, FlexTensor) {
        let [samples, width] = shape(&scale_and_shift);
        let (dx, gain, bias, modulation) =
            norm_gradients(x, gain, bias, Some(scale_and_shift), dy, epsilon);
        (dx, gain, bias, tensor(modulation, [samples, width]))
    }

    fn exact_gelu_gradient(x: FlexTensor, dy: FlexTensor) -> FlexTensor {
        let [x, dy] = [x, dy].map(contiguous);
        let mut dx = zeros_like(&x);
        gelu::gelu_gradient(slice(&x), slice(&dy), &mut dx);
        tensor(dx, x.layout().shape().clone())
    }

    fn gated_gelu_gradient(
        x: FlexTensor,
        seed: FlexTensor,
        dy: FlexTensor,
        drop: DropRule,
    ) -> FlexTensor {
        let [x, dy] = [x, dy].map(contiguous);
        let mut dx = zeros_like(&x);
        let dropping = dropping(&seed, drop);
        gated_gelu::gated_gelu_gradient(slice(&x), last(&x) / 2, dropping, slice(&dy), &mut dx);
        tensor(dx, x.layout().shape().clone())
    }

    fn self_attention_gradient(
        qkv: FlexTensor,
        bias: FlexTensor,
        seed: FlexTensor,
        dy: FlexTensor,
        attention: Attention,
    ) -> FlexTensor {
        let [batch, length, width] = shape(&qkv);
        let gradients = Operands::joined(qkv, bias, seed, attention).backward(dy);
        let mut dqkv = zeros(batch * length * width);
        gradients.write_query(&mut dqkv, width, 0);
        gradients.write_key(&mut dqkv, width, width / 3);
        gradients.write_value(&mut dqkv, width, width / 3 * 2);
        tensor(dqkv, [batch, length, width])
    }

    fn cross_attention_gradients(
        query: FlexTensor,
        key: FlexTensor,
        bias: FlexTensor,
        seed: FlexTensor,
        dy: FlexTensor,
        attention: Attention,
    ) -> (FlexTensor, FlexTensor) {
        let ([batch, queries, dim], [_, keys, _]) = (shape(&query), shape(&key));
        let gradients = Operands::apart(query, key, bias, seed, attention).backward(dy);
        let mut dquery = zeros(batch * queries * dim);
        gradients.write_query(&mut dquery, dim, 0);
        let mut dkey = zeros(batch * keys * 2 * dim);
        gradients.write_key(&mut dkey, 2 * dim, 0);
        gradients.write_value(&mut dkey, 2 * dim, dim);
        (tensor(dquery, [batch, queries, dim]), tensor(dkey, [batch, keys, 2 * dim]))
    }

    fn adamw(
        parameters: FlexTensor,
        moment_1: FlexTensor,
        moment_2: FlexTensor,
        gradient: FlexTensor,
        norm: FlexTensor,
        borders: FlexTensor,
        step: AdamWStep,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let vectors = [parameters, moment_1, moment_2];
        let ([parameters, moment_1, moment_2], _) =
            stepped(vectors, None, gradient, &norm, &borders, &step);
        (parameters, moment_1, moment_2)
    }

    fn adamw_with_average(
        parameters: FlexTensor,
        moment_1: FlexTensor,
        moment_2: FlexTensor,
        average: FlexTensor,
        gradient: FlexTensor,
        norm: FlexTensor,
        borders: FlexTensor,
        step: AdamWStep,
    ) -> (FlexTensor, FlexTensor, FlexTensor, FlexTensor) {
        let vectors = [parameters, moment_1, moment_2];
        let ([parameters, moment_1, moment_2], Some(average)) =
            stepped(vectors, Some(average), gradient, &norm, &borders, &step)
        else {
            unreachable!("an average that went in comes out")
        };
        (parameters, moment_1, moment_2, average)
    }
}

impl DecodingOps for Flex {
    fn attend_to_past(
        qkv: FlexTensor,
        keys_values: FlexTensor,
        rows: FlexTensor,
        position: FlexTensor,
        bias: FlexTensor,
        rule: PastRule,
    ) -> (FlexTensor, FlexTensor) {
        let [qkv, rows, position, bias] = [qkv, rows, position, bias].map(contiguous);
        let mut keys_values = own(keys_values);
        let ([texts, _, width], [_, capacity, _]) = (shape(&qkv), shape(&keys_values));
        let mut out = zeros(texts * width / 3);
        let past = Past {
            keys_values: slice_mut(&mut keys_values),
            capacity,
            rows: whole_numbers(&rows),
            position: usize::try_from(whole_numbers(&position)[0]).expect("a token has been read"),
        };
        let bias = rule.biased.then(|| slice(&bias));
        let attention = PastAttention { heads: rule.heads, scale: rule.scale as f32, bias };
        attention.forward(slice(&qkv), past, &mut out);
        (tensor(out, [texts, 1, width / 3]), keys_values)
    }

    fn cross_attention_of_few(
        query: FlexTensor,
        key: FlexTensor,
        bias: FlexTensor,
        attention: Attention,
    ) -> FlexTensor {
        let seed = query.clone();
        Self::cross_attention(query, key, bias, seed, attention)
    }
}

impl FusedNorm for Flex {
    fn global_norm(x: FlexTensor) -> FlexTensor {
        let x = contiguous(x);
        tensor(vec![squared_norm(slice(&x)).sqrt() as f32], [1])
    }
}

/// Vectors on Flex in f32 without a graph, one after another. Burn's own operation has one core do it.
///
/// # Panics
/// If one of them is another.
pub(crate) fn joined(vectors: Vec<Tensor<1>>) -> Tensor<1> {
    let vectors = vectors.into_iter().map(|vector| match vector.into_dispatch().kind {
        DispatchTensorKind::Flex(BackendTensor::Float(vector)) => vector,
        other => panic!("a vector that is not one of Flex without a graph: {other:?}"),
    });
    let joined = tensor::join(vectors.collect());
    let kind = DispatchTensorKind::Flex(BackendTensor::Float(joined));
    Tensor::from_dispatch(DispatchTensor { kind, autodiff: DispatchAutodiffContext::Disabled })
}

fn shape<const D: usize>(tensor: &FlexTensor) -> [usize; D] {
    tensor.layout().shape().dims()
}

fn last(tensor: &FlexTensor) -> usize {
    let shape = tensor.layout().shape();
    shape[shape.num_dims() - 1]
}

/// Its shape with another last dimension.
fn with_last(tensor: &FlexTensor, size: usize) -> Shape {
    let mut shape = tensor.layout().shape().clone();
    let last = shape.num_dims() - 1;
    shape[last] = size;
    shape
}

/// All but the last dimension as one.
fn flat(tensor: FlexTensor) -> FlexTensor {
    let shape = tensor.layout().shape();
    if shape.num_dims() == 2 {
        return tensor;
    }
    let width = last(&tensor);
    let rows = shape.num_elements() / width.max(1);
    tensor.reshape([rows, width].into())
}

/// A product with the rows of `x`, in `x`'s shape.
fn onto_rows(
    x: FlexTensor,
    weight: FlexTensor,
    product: impl FnOnce(FlexTensor, FlexTensor) -> FlexTensor,
) -> FlexTensor {
    let shape = with_last(&x, last(&weight));
    let y = product(flat(x), weight);
    if y.layout().shape() == &shape { y } else { y.reshape(shape) }
}

fn zeros_like(tensor: &FlexTensor) -> Vec<f32> {
    zeros(tensor.layout().num_elements())
}

/// The elements of a contiguous tensor.
fn whole_numbers(tensor: &FlexTensor) -> &[i32] {
    tensor.as_slice().expect("a contiguous tensor in i32")
}

fn dropping(seed: &FlexTensor, drop: DropRule) -> Option<Dropping> {
    drop.drops().then(|| Dropping::new(stored(seed)[0], drop.salt, drop.threshold(), drop.scale()))
}

fn layer_norm<'a>(
    gain: &'a FlexTensor,
    bias: &'a FlexTensor,
    modulation: Option<&'a FlexTensor>,
    epsilon: f64,
) -> LayerNorm<'a> {
    let modulation = modulation.map(|it| Modulation { scale_and_shift: slice(it) });
    let (gain, bias) = (slice(gain), slice(bias));
    LayerNorm { gain, bias, epsilon: epsilon as f32, centred: true, modulation }
}

/// An RMS norm; the bias is zeros.
fn rms<'a>(gain: &'a FlexTensor, bias: &'a [f32], epsilon: f64) -> LayerNorm<'a> {
    let gain = slice(gain);
    LayerNorm { gain, bias, epsilon: epsilon as f32, centred: false, modulation: None }
}

/// Of the rows, gain, bias and modulation; the last is empty where there is none.
fn norm_gradients(
    x: FlexTensor,
    gain: FlexTensor,
    bias: FlexTensor,
    modulation: Option<FlexTensor>,
    dy: FlexTensor,
    epsilon: f64,
) -> (FlexTensor, FlexTensor, FlexTensor, Vec<f32>) {
    let [x, gain, bias, dy] = [x, gain, bias, dy].map(contiguous);
    let modulation = modulation.map(contiguous);
    let norm = layer_norm(&gain, &bias, modulation.as_ref(), epsilon);
    let mut dx = zeros_like(&x);
    let gradients = norm.backward(slice(&x), slice(&dy), &mut dx);
    let dim = gradients.gain.len();
    let [dgain, dbias] = [gradients.gain, gradients.bias].map(|row| tensor(row, [dim]));
    (tensor(dx, x.layout().shape().clone()), dgain, dbias, gradients.scale_and_shift)
}

/// Parameters, moments and average after a step.
fn stepped(
    [parameters, moment_1, moment_2]: [FlexTensor; 3],
    average: Option<FlexTensor>,
    gradient: FlexTensor,
    norm: &FlexTensor,
    borders: &FlexTensor,
    step: &AdamWStep,
) -> ([FlexTensor; 3], Option<FlexTensor>) {
    let mut moments = [moment_1, moment_2].map(own);
    let mut average = average.map(own);
    let gradient = contiguous(gradient);
    let [moment_1, moment_2] = moments.each_mut().map(slice_mut);
    let vectors = AdamWVectors {
        gradient: slice(&gradient),
        moment_1,
        moment_2,
        average: average.as_mut().map(slice_mut),
    };
    let factors = factors(step, stored(norm)[0]);
    let borders = borders_of(borders);
    let parameters = stepped_parameters(parameters, vectors, &borders, &factors);
    let [moment_1, moment_2] = moments;
    ([parameters, moment_1, moment_2], average)
}

fn stepped_parameters(
    mut parameters: FlexTensor,
    vectors: AdamWVectors<'_>,
    borders: &[usize],
    factors: &AdamWFactors,
) -> FlexTensor {
    if is_alone(&parameters) {
        adamw::adamw(slice_mut(&mut parameters), vectors, borders, factors);
        return parameters;
    }
    let parameters = contiguous(parameters);
    let len = parameters.layout().num_elements();
    tensor(adamw::adamw_of_copy(slice(&parameters), vectors, borders, factors), [len])
}

fn borders_of(borders: &FlexTensor) -> Vec<usize> {
    let borders = whole_numbers(borders).iter();
    borders.map(|&border| usize::try_from(border).expect("a border from 0 on")).collect()
}

fn factors(step: &AdamWStep, norm: f32) -> AdamWFactors {
    let correction = |beta: f32| (1.0 / (1.0 - f64::from(beta).powf(step.time as f64))) as f32;
    let clip = step.gradient_clip as f32;
    AdamWFactors {
        beta_1: step.beta_1,
        beta_2: step.beta_2,
        epsilon: step.epsilon,
        learning_rate: step.learning_rate as f32,
        decay: (step.learning_rate * step.weight_decay) as f32,
        correction_1: correction(step.beta_1),
        correction_2: correction(step.beta_2),
        gradient_scale: if clip > 0.0 { (clip / (norm + 1e-6)).min(1.0) } else { 1.0 },
        average_decay: step.average_decay as f32,
    }
}

/// What an attention reads.
struct Operands {
    query: FlexTensor,
    /// Keys and values, if the queries do not have them behind them.
    key: Option<FlexTensor>,
    bias: Option<FlexTensor>,
    dropping: Option<Dropping>,
    attention: Attention,
}

impl Operands {
    /// Of `[batch, length, 3 * dim]`.
    fn joined(qkv: FlexTensor, bias: FlexTensor, seed: FlexTensor, attention: Attention) -> Self {
        Self::new(qkv, None, bias, &seed, attention)
    }

    /// Of queries `[batch, queries, dim]`, and keys and values `[batch, keys, 2 * dim]`.
    fn apart(
        query: FlexTensor,
        key: FlexTensor,
        bias: FlexTensor,
        seed: FlexTensor,
        attention: Attention,
    ) -> Self {
        Self::new(query, Some(with_whole_rows(key)), bias, &seed, attention)
    }

    fn new(
        query: FlexTensor,
        key: Option<FlexTensor>,
        bias: FlexTensor,
        seed: &FlexTensor,
        attention: Attention,
    ) -> Self {
        let bias = attention.biased.then(|| forward(bias));
        let dropping = dropping(seed, attention.drop);
        Self { query: with_whole_rows(query), key, bias, dropping, attention }
    }

    /// The width of all heads.
    fn dim(&self) -> usize {
        let [_, _, width] = shape(&self.query);
        if self.key.is_some() { width } else { width / 3 }
    }

    fn attention(&self) -> attention::Attention<'_> {
        let dim = self.dim();
        let [query, key, value] = match &self.key {
            None => [0, 1, 2].map(|part| rows(&self.query, part * dim)),
            Some(key) => [rows(&self.query, 0), rows(key, 0), rows(key, dim)],
        };
        let [batch, _, _] = shape(&self.query);
        attention::Attention {
            query,
            key,
            value,
            bias: self.bias.as_ref().map(bias_of),
            batch,
            heads: self.attention.heads,
            head_dim: dim / self.attention.heads,
            scale: self.attention.scale as f32,
            dropping: self.dropping,
        }
    }

    fn forward(&self) -> FlexTensor {
        let [batch, queries, _] = shape(&self.query);
        let mut out = zeros(batch * queries * self.dim());
        self.attention().forward(&mut out);
        tensor(out, [batch, queries, self.dim()])
    }

    fn backward(&self, dy: FlexTensor) -> AttentionGradients {
        self.attention().backward(slice(&contiguous(dy)))
    }
}

/// The vectors of a tensor `[batch, length, ..]`, from `offset` on in each row.
fn rows(tensor: &FlexTensor, offset: usize) -> Rows<'_> {
    let ([_, length, _], strides) = (shape(tensor), tensor.layout().strides());
    let [sample_stride, stride] = [strides[0], strides[1]].map(isize::unsigned_abs);
    Rows { data: stored(tensor), length, sample_stride, stride, offset }
}

/// The bias with these strides, which are 0 where it is broadcast.
fn bias_of(bias: &FlexTensor) -> Bias<'_> {
    let (shape, strides) = (shape::<4>(bias), bias.layout().strides());
    let strides =
        std::array::from_fn(|i| if shape[i] == 1 { 0 } else { strides[i].unsigned_abs() });
    Bias { data: stored(bias), strides }
}

/// The same tensor with the elements of its last dimension one after another.
fn with_whole_rows(tensor: FlexTensor) -> FlexTensor {
    let tensor = forward(tensor);
    if tensor.layout().strides().last() == Some(&1) { tensor } else { tensor.to_contiguous() }
}
