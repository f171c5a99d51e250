//! The operations as Burn's dispatch knows them.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, backend_extension};

use crate::decoding::PastRule;
use crate::{AdamWStep, Attention, DropRule};

/// What has a gradient. Arguments that an operation does not need are given any tensor.
#[backend_extension(
    Cube: cfg(feature = "cube"),
    Flex: cfg(feature = "flex"),
    Fusion: cfg(feature = "cube"),
    Autodiff
)]
pub trait FusedOps: Backend {
    /// `[.., inner]` times `[inner, columns]`.
    #[fusion(dtype = x, shape = product_shape(x, weight))]
    fn product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The same plus a bias `[columns]`.
    #[fusion(dtype = x, shape = product_shape(x, weight))]
    fn product_with_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// The same plus `[.., columns]`.
    #[fusion(dtype = x, shape = product_shape(x, weight))]
    fn product_onto(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        added: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// Layer norm of `[.., dim]`.
    #[fusion(dtype = x, shape = x)]
    fn norm(
        x: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self>;

    /// Layer norm of `x + residual`, both `[.., dim]`.
    #[fusion(dtype = x, shape = x)]
    fn norm_of_sum(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self>;

    /// RMS norm of `[.., dim]`.
    #[fusion(dtype = x, shape = x)]
    fn rms_norm(x: FloatTensor<Self>, gain: FloatTensor<Self>, epsilon: f64) -> FloatTensor<Self>;

    /// `residual + norm(x) * (1 + scale) + shift`, the last two `[samples, 2 * dim]`.
    #[fusion(dtype = x, shape = x)]
    fn modulated_norm(
        x: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        scale_and_shift: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self>;

    /// Of every element.
    #[fusion(dtype = x, shape = x)]
    fn exact_gelu(x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// `value * gelu(gate)` of `[.., 2 * inner]`, with dropout by a seed `[1]`.
    #[fusion(dtype = x, shape = half_shape(x))]
    fn gated_gelu(
        x: FloatTensor<Self>,
        seed: FloatTensor<Self>,
        drop: DropRule,
    ) -> FloatTensor<Self>;

    /// `[batch, length, 3 * dim]` to `[batch, length, dim]`.
    #[fusion(dtype = qkv, shape = third_shape(qkv))]
    fn self_attention(
        qkv: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        seed: FloatTensor<Self>,
        attention: Attention,
    ) -> FloatTensor<Self>;

    /// `[batch, queries, dim]` to keys and values `[batch, keys, 2 * dim]`.
    #[fusion(dtype = query, shape = query)]
    fn cross_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        seed: FloatTensor<Self>,
        attention: Attention,
    ) -> FloatTensor<Self>;
}

/// The gradients of [`FusedOps`], and the optimiser.
#[backend_extension(
    Cube: cfg(feature = "cube"),
    Flex: cfg(feature = "flex"),
    Fusion: cfg(feature = "cube")
)]
pub trait FusedGradients: Backend {
    /// Of `x`.
    #[fusion(dtype = dy, shape = with_last(dy, weight[0]))]
    fn linear_input(dy: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Of the weight.
    #[fusion(dtype = x, shape = [last(x), last(dy)].into())]
    fn linear_weight(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Of the weight and the bias.
    #[fusion(meta = |x, dy| (with_shape(x, &[last(&x.shape), last(&dy.shape)]), with_shape(x, &[last(&dy.shape)])))]
    fn linear_weight_and_bias(
        x: FloatTensor<Self>,
        dy: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Of `x`, gain and bias.
    #[fusion(meta = |x, gain, bias, _, _| (x.clone(), gain.clone(), bias.clone()))]
    fn norm_gradients(
        x: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// Of both terms, gain and bias.
    #[fusion(meta = |x, _, gain, bias, _, _| (x.clone(), gain.clone(), bias.clone()))]
    fn norm_of_sum_gradients(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// Of `x` and gain.
    #[fusion(meta = |x, gain, _, _| (x.clone(), gain.clone()))]
    fn rms_norm_gradients(
        x: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Of `x`, gain, bias, and scale and shift.
    #[fusion(meta = |x, gain, bias, modulation, _, _| {
        (x.clone(), gain.clone(), bias.clone(), modulation.clone())
    })]
    fn modulated_norm_gradients(
        x: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        scale_and_shift: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// Of `x`.
    #[fusion(dtype = x, shape = x)]
    fn exact_gelu_gradient(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Of `x`.
    #[fusion(dtype = x, shape = x)]
    fn gated_gelu_gradient(
        x: FloatTensor<Self>,
        seed: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        drop: DropRule,
    ) -> FloatTensor<Self>;

    /// Of `qkv`.
    #[fusion(dtype = qkv, shape = qkv)]
    fn self_attention_gradient(
        qkv: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        seed: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        attention: Attention,
    ) -> FloatTensor<Self>;

    /// Of queries, and of keys and values.
    #[fusion(meta = |query, key, _, _, _, _| (query.clone(), key.clone()))]
    fn cross_attention_gradients(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        seed: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        attention: Attention,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Parameters and moments after a step.
    #[fusion(meta = |parameters, first, second, _, _, _, _| {
        (parameters.clone(), first.clone(), second.clone())
    })]
    fn adamw(
        parameters: FloatTensor<Self>,
        moment_1: FloatTensor<Self>,
        moment_2: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        norm: FloatTensor<Self>,
        borders: IntTensor<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// Parameters, moments and running average after a step.
    #[fusion(meta = |parameters, first, second, average, _, _, _, _| {
        (parameters.clone(), first.clone(), second.clone(), average.clone())
    })]
    #[allow(
        clippy::too_many_arguments,
        reason = "a dispatched operation takes no struct of tensors"
    )]
    fn adamw_with_average(
        parameters: FloatTensor<Self>,
        moment_1: FloatTensor<Self>,
        moment_2: FloatTensor<Self>,
        average: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        norm: FloatTensor<Self>,
        borders: IntTensor<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

/// What a decoder does for its newest tokens, without gradients.
#[backend_extension(
    Cube: cfg(feature = "cube"),
    Flex: cfg(feature = "flex"),
    Fusion: cfg(feature = "cube")
)]
pub trait DecodingOps: Backend {
    /// `[texts, 1, 3 * dim]` to `[texts, 1, dim]`, and the past `[rows, capacity, 2 * dim]` with the
    /// newest keys and values, in place.
    #[fusion(meta = |qkv, keys_values, _, _, _, _| {
        (with_shape(qkv, &third_shape(&qkv.shape)), keys_values.clone())
    })]
    fn attend_to_past(
        qkv: FloatTensor<Self>,
        keys_values: FloatTensor<Self>,
        rows: IntTensor<Self>,
        position: IntTensor<Self>,
        bias: FloatTensor<Self>,
        rule: PastRule,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// The same as [`FusedOps::cross_attention`], faster for few queries.
    #[fusion(dtype = query, shape = query)]
    fn cross_attention_of_few(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        attention: Attention,
    ) -> FloatTensor<Self>;
}

/// What Burn's fusion does well elsewhere.
#[cfg(feature = "flex")]
#[backend_extension(Flex: cfg(feature = "flex"))]
pub trait FusedNorm: Backend {
    /// The root of the sum of all squares, `[1]`.
    fn global_norm(x: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// How many tensors one operation of [`FlatOps`] puts or takes.
#[cfg(feature = "cube")]
pub(crate) const WIDTH: usize = 8;

/// Tensors into a vector and out of it.
#[cfg(feature = "cube")]
#[backend_extension(Cube, Fusion)]
pub trait FlatOps: Backend {
    /// `flat` with eight tensors of any shape in it, each from one of `starts` on.
    #[fusion(dtype = flat, shape = flat)]
    #[allow(
        clippy::too_many_arguments,
        reason = "a dispatched operation takes no struct of tensors"
    )]
    fn put(
        flat: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        d: FloatTensor<Self>,
        e: FloatTensor<Self>,
        f: FloatTensor<Self>,
        g: FloatTensor<Self>,
        h: FloatTensor<Self>,
        starts: [usize; WIDTH],
    ) -> FloatTensor<Self>;

    /// Eight parts of `flat`, not copied where the device can begin at them.
    #[fusion(meta = |flat, places| {
        let at = |i: usize| with_shape(flat, &places[i].shape);
        (at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7))
    })]
    #[allow(clippy::type_complexity, reason = "a dispatched operation answers with a plain tuple")]
    fn take(
        flat: FloatTensor<Self>,
        places: [Place; WIDTH],
    ) -> (
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
    );
}

#[cfg(feature = "cube")]
use crate::Place;
#[cfg(feature = "cube")]
use shapes::*;

/// Shapes of results, which Burn's fusion must know before an operation has run.
#[cfg(feature = "cube")]
mod shapes {
    use burn::backend::fusion::custom::TensorSpec;
    use burn::tensor::Shape;

    pub(super) fn product_shape(a: &Shape, b: &Shape) -> Shape {
        with_last(a, b[1])
    }

    pub(super) fn half_shape(x: &Shape) -> Shape {
        divided(x, 2)
    }

    pub(super) fn third_shape(x: &Shape) -> Shape {
        divided(x, 3)
    }

    fn divided(x: &Shape, divisor: usize) -> Shape {
        with_last(x, last(x) / divisor)
    }

    pub(super) fn last(x: &Shape) -> usize {
        x[x.num_dims() - 1]
    }

    pub(super) fn with_last(x: &Shape, size: usize) -> Shape {
        let mut shape = x.clone();
        let last = shape.num_dims() - 1;
        shape[last] = size;
        shape
    }

    pub(super) fn with_shape(like: &TensorSpec, shape: &[usize]) -> TensorSpec {
        TensorSpec::new(shape.to_vec().into(), like.dtype)
    }
}
