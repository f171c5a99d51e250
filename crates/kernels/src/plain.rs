//! The same operations by Burn's own, for any device.
//!
//! Dropout draws from the device's generator here.

use std::f64::consts::FRAC_1_SQRT_2;

use burn::nn::DropoutConfig;
use burn::tensor::{DType, FloatDType, Tensor, TensorData, activation};

use crate::decoding::positions;
use crate::{
    AdamWState, AdamWStep, AttentionSettings, DecayRanges, DropoutSite, HIDDEN_LOGIT, Past,
    PastAttention, Reading,
};

/// See [`linear`](crate::linear()).
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let mut shape = x.dims();
    let [inner, columns] = weight.dims();
    shape[D - 1] = columns;
    // One product of two matrices is faster than one for each sample.
    let y = x.reshape([-1, inner as i64]).matmul(weight);
    let y: Tensor<2> = match bias {
        Some(bias) => y + bias.unsqueeze_dim(0),
        None => y,
    };
    y.reshape(shape)
}

/// See [`norm`](crate::norm()).
pub fn norm<const D: usize>(
    x: Tensor<D>,
    gain: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    let dtype = x.dtype();
    wide_norm(x, gain, bias, epsilon).cast(dtype)
}

fn wide_norm<const D: usize>(
    x: Tensor<D>,
    gain: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    let [gain, bias] = [gain, bias].map(|row| row.cast(FloatDType::F32).unsqueeze());
    let x = x.cast(FloatDType::F32);
    let (variance, mean) = x.clone().var_mean_bias(D - 1);
    (x - mean) / (variance + epsilon).sqrt() * gain + bias
}

/// See [`modulated_norm`](crate::modulated_norm).
pub fn modulated_norm<const D: usize>(
    x: Tensor<D>,
    gain: Tensor<1>,
    bias: Tensor<1>,
    scale_and_shift: Tensor<2>,
    residual: Tensor<D>,
    epsilon: f64,
) -> Tensor<D> {
    let (shape, dtype) = (x.dims(), x.dtype());
    let [samples, width] = scale_and_shift.dims();
    let y = wide_norm(x, gain, bias, epsilon);
    let y: Tensor<3> = y.reshape([samples as i64, -1, (width / 2) as i64]);
    let (scale, shift) = halves(scale_and_shift.cast(FloatDType::F32).unsqueeze_dim::<3>(1));
    let y = (y * (scale + 1.0) + shift).reshape(shape);
    (residual.cast(FloatDType::F32) + y).cast(dtype)
}

/// See [`rms_norm`](crate::rms_norm).
pub fn rms_norm<const D: usize>(x: Tensor<D>, gain: Tensor<1>, epsilon: f64) -> Tensor<D> {
    let dtype = x.dtype();
    let x = x.cast(FloatDType::F32);
    let mean_square = x.clone().square().mean_dim(D - 1);
    let y = x / (mean_square + epsilon).sqrt() * gain.cast(FloatDType::F32).unsqueeze();
    y.cast(dtype)
}

/// See [`norm_of_sum`](crate::norm_of_sum).
pub fn norm_of_sum<const D: usize>(
    x: Tensor<D>,
    residual: Tensor<D>,
    gain: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    let dtype = x.dtype();
    let sum = x.cast(FloatDType::F32) + residual.cast(FloatDType::F32);
    wide_norm(sum, gain, bias, epsilon).cast(dtype)
}

/// See [`gelu`](crate::gelu()).
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    // Burn's GELU is the exact one too, but its gradient is that of the approximation by tanh.
    x.clone() * distribution(x)
}

/// The standard normal distribution function.
fn distribution<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    ((x * FRAC_1_SQRT_2).erf() + 1.0) * 0.5
}

/// See [`gated_gelu`](crate::gated_gelu()).
pub fn gated_gelu<const D: usize>(x: Tensor<D>, dropout: Option<&DropoutSite>) -> Tensor<D> {
    let (value, gate) = halves(x);
    dropped(value * gate.clone() * distribution(gate), dropout)
}

/// See [`self_attention`](crate::self_attention).
pub fn self_attention(qkv: Tensor<3>, settings: &AttentionSettings) -> Tensor<3> {
    let dim = qkv.dims()[2] / 3;
    let query = qkv.clone().slice_dim(2, 0..dim);
    cross_attention(query, qkv.slice_dim(2, dim..3 * dim), settings)
}

/// See [`cross_attention`](crate::cross_attention).
pub fn cross_attention(
    query: Tensor<3>,
    keys_values: Tensor<3>,
    settings: &AttentionSettings,
) -> Tensor<3> {
    let (key, value) = halves(keys_values);
    attention([query, key, value], settings, |probabilities| {
        dropped(probabilities, settings.dropout.as_ref())
    })
}

/// [`cross_attention`] with keys and values apart. The probabilities go through `drop`, whatever the
/// settings say about dropout.
pub fn attention(
    [query, key, value]: [Tensor<3>; 3],
    settings: &AttentionSettings,
    drop: impl FnOnce(Tensor<4>) -> Tensor<4>,
) -> Tensor<3> {
    let [batch, queries, dim] = query.dims();
    let dtype = query.dtype();
    let query = if settings.scale == 1.0 { query } else { query * settings.scale };
    let [query, key, value] = [query, key, value].map(|x| {
        let [batch, length, _] = x.dims();
        x.reshape([batch, length, settings.heads, dim / settings.heads]).swap_dims(1, 2)
    });
    let mut logits = query.matmul(key.transpose()).cast(FloatDType::F32);
    if let Some(bias) = &settings.bias {
        logits = logits + bias.clone();
    }
    let probabilities = activation::softmax(logits, 3).cast(dtype);
    let seen = drop(probabilities).matmul(value);
    seen.swap_dims(1, 2).reshape([batch, queries, dim])
}

/// See [`attend_to_past`](crate::attend_to_past).
pub fn attend_to_past(
    qkv: Tensor<3>,
    past: Past,
    reading: &Reading,
    attention: &PastAttention,
) -> (Tensor<3>, Past) {
    let [texts, _, width] = qkv.dims();
    let dim = width / 3;
    let place = reading.length - 1;
    let newest = qkv.clone().slice_dim(2, dim..3 * dim);
    let buffer = past.keys_values.slice_assign([0..texts, place..place + 1, 0..2 * dim], newest);
    let count = seen_positions(reading);
    let seen = if reading.in_order {
        buffer.clone().slice([0..texts, 0..count])
    } else {
        of_texts(buffer.clone(), reading, count)
    };
    let settings = AttentionSettings {
        heads: attention.heads,
        scale: attention.scale,
        bias: past_bias(reading, count, attention.distance_bias.as_ref()),
        dropout: None,
    };
    let seen = cross_attention(qkv.slice_dim(2, 0..dim), seen, &settings);
    (seen, Past { keys_values: buffer })
}

/// How many positions are looked at, hidden ones among them: shapes that change with every token would
/// make a GPU backend compile and tune for each of them.
fn seen_positions(reading: &Reading) -> usize {
    const BLOCK: usize = 32;

    reading.length.next_multiple_of(BLOCK).min(reading.rows.dims()[1])
}

/// The first `count` positions of every text, `[texts, count, 2 * dim]`.
fn of_texts(buffer: Tensor<3>, reading: &Reading, count: usize) -> Tensor<3> {
    let [rows, capacity, width] = buffer.dims();
    let texts = reading.rows.dims()[0];
    let rows_of_texts = reading.rows.clone().slice_dim(1, 0..count);
    let places = rows_of_texts * capacity as i64 + positions(count, &buffer.device());
    let places = places.reshape([texts * count]);
    buffer.reshape([rows * capacity, width]).select(0, places).reshape([texts, count, width])
}

/// What the logits of the first `count` positions are added, `[1, heads or 1, 1, count]`.
fn past_bias(
    reading: &Reading,
    count: usize,
    distance_bias: Option<&Tensor<2>>,
) -> Option<Tensor<4>> {
    let length = reading.length;
    let hidden = count - length;
    let device = reading.rows.device();
    let hiding = (hidden > 0).then(|| {
        let row = (0..count).map(|position| if position < length { 0.0 } else { HIDDEN_LOGIT });
        let data = TensorData::new(row.collect::<Vec<f32>>(), [1, 1, 1, count]);
        Tensor::from_data(data, (&device, DType::F32))
    });
    let by_distance = distance_bias.map(|bias| {
        let [heads, _] = bias.dims();
        let row = bias.clone().slice_dim(1, 0..length).flip([1]);
        let row = if hidden > 0 {
            Tensor::cat(vec![row, Tensor::zeros([heads, hidden], (&device, DType::F32))], 1)
        } else {
            row
        };
        row.reshape([1, heads, 1, count])
    });
    match (by_distance, hiding) {
        (Some(by_distance), Some(hiding)) => Some(by_distance + hiding),
        (by_distance, hiding) => by_distance.or(hiding),
    }
}

/// See [`adamw`](crate::adamw).
pub fn adamw(
    state: AdamWState,
    gradient: Tensor<1>,
    norm: Tensor<1>,
    decayed: &DecayRanges,
    step: AdamWStep,
) -> AdamWState {
    let gradient = gradient.cast(FloatDType::F32);
    let gradient = match step.gradient_clip {
        clip if clip > 0.0 => gradient * (norm + 1e-6).recip().mul_scalar(clip).clamp_max(1.0),
        _ => gradient,
    };
    let decay = step.learning_rate * step.weight_decay;
    let parameters = if decay == 0.0 {
        state.parameters
    } else {
        state.parameters * (decayed.mask(gradient.dims()[0]) * -decay + 1.0)
    };
    let (beta_1, beta_2) = (f64::from(step.beta_1), f64::from(step.beta_2));
    let moment_1 = state.moment_1 * beta_1 + gradient.clone() * (1.0 - beta_1);
    let moment_2 = state.moment_2 * beta_2 + gradient.square() * (1.0 - beta_2);
    let first = moment_1.clone() / (1.0 - beta_1.powf(step.time as f64));
    let second = moment_2.clone() / (1.0 - beta_2.powf(step.time as f64));
    let parameters = parameters - first / (second.sqrt() + step.epsilon) * step.learning_rate;
    let average = state.average.map(|average| match step.average_decay {
        0.0 => parameters.clone(),
        decay => average * decay + parameters.clone() * (1.0 - decay),
    });
    AdamWState { parameters, moment_1, moment_2, average }
}

/// See [`global_norm`](crate::global_norm).
pub fn global_norm(x: Tensor<1>) -> Tensor<1> {
    x.cast(FloatDType::F32).square().sum().sqrt()
}

fn dropped<const D: usize>(x: Tensor<D>, dropout: Option<&DropoutSite>) -> Tensor<D> {
    match dropout {
        None => x,
        Some(site) => DropoutConfig::new(site.rule.probability).init().forward(x),
    }
}

/// Both halves of the last dimension.
fn halves<const D: usize>(x: Tensor<D>) -> (Tensor<D>, Tensor<D>) {
    let width = x.dims()[D - 1] / 2;
    (x.clone().slice_dim(D - 1, 0..width), x.slice_dim(D - 1, width..2 * width))
}
