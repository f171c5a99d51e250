//! The same operations by Burn's own, for any device.
//!
//! Dropout draws from the device's generator here.

use std::f64::consts::FRAC_1_SQRT_2;

use burn::nn::DropoutConfig;
use burn::tensor::{FloatDType, Tensor, activation};

use crate::{AdamWState, AdamWStep, AttentionSettings, DecayRanges, DropoutSite};

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

/// See [`gated_gelu`](crate::gated_gelu()).
pub fn gated_gelu<const D: usize>(x: Tensor<D>, dropout: Option<&DropoutSite>) -> Tensor<D> {
    let (value, gate) = halves(x);
    // Burn's GELU is the exact one too, but its gradient is that of the approximation by tanh.
    let normal = ((gate.clone() * FRAC_1_SQRT_2).erf() + 1.0) * 0.5;
    dropped(value * gate * normal, dropout)
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
    let [batch, queries, dim] = query.dims();
    let dtype = query.dtype();
    let (key, value) = halves(keys_values);
    let heads = |x: Tensor<3>| {
        let [batch, length, _] = x.dims();
        x.reshape([batch, length, settings.heads, dim / settings.heads]).swap_dims(1, 2)
    };
    let products = heads(query * settings.scale).matmul(heads(key).transpose());
    let mut logits = products.cast(FloatDType::F32);
    if let Some(bias) = &settings.bias {
        logits = logits + bias.clone();
    }
    let probabilities = activation::softmax(logits, 3).cast(dtype);
    let seen = dropped(probabilities, settings.dropout.as_ref()).matmul(heads(value));
    seen.swap_dims(1, 2).reshape([batch, queries, dim])
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
