use burn::nn::Dropout;
use burn::tensor::{Bool, FloatDType, Tensor, activation};

/// Far below any real logit, yet finite: a row with nothing to see stays free of NaN.
const HIDDEN_LOGIT: f32 = -1e30;

/// Scaled dot-product attention with softmax in f32.
///
/// # Shapes
/// - `q`: `[batch, heads, queries, head_dim]`, already multiplied by the attention scale
/// - `k`, `v`: `[batch, heads, keys, head_dim]`
/// - `visible`: broadcastable to `[batch, heads, queries, keys]`, `true` where a query may look
/// - returns `[batch, heads, queries, head_dim]`
///
/// `dropout` acts on the attention probabilities, and only on an autodiff device.
pub fn attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    visible: Option<Tensor<4, Bool>>,
    dropout: &Dropout,
) -> Tensor<4> {
    biased_attention(q, k, v, visible.map(hiding_bias), dropout)
}

/// [`attention`] with a `bias`, in f32 and broadcastable to `[batch, heads, queries, keys]`, that is
/// added to the logits.
pub fn biased_attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    bias: Option<Tensor<4>>,
    dropout: &Dropout,
) -> Tensor<4> {
    let dtype = v.dtype();
    let mut logits = q.matmul(k.swap_dims(2, 3)).cast(FloatDType::F32);
    if let Some(bias) = bias {
        logits = logits + bias;
    }
    let probabilities = activation::softmax(logits, 3).cast(dtype);
    dropout.forward(probabilities).matmul(v)
}

/// The bias that hides what is not `visible`: 0 or a logit far below any other, in f32.
///
/// Added to a logit it leaves nothing of it, so that a query with nothing to see looks at all keys
/// alike. It is small where filling hidden logits would need a mask of the logits' size.
pub fn hiding_bias(visible: Tensor<4, Bool>) -> Tensor<4> {
    visible.bool_not().float().cast(FloatDType::F32) * HIDDEN_LOGIT
}

/// `[batch, length, heads * head_dim]` to `[batch, heads, length, head_dim]`.
///
/// # Panics
/// If the last dimension is not divisible by `heads`.
pub fn split_heads(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [batch, length, width] = x.dims();
    assert_eq!(width % heads, 0, "width {width} is not divisible into {heads} heads");
    x.reshape([batch, length, heads, width / heads]).swap_dims(1, 2)
}

/// `[batch, heads, length, head_dim]` to `[batch, length, heads * head_dim]`.
pub fn merge_heads(x: Tensor<4>) -> Tensor<3> {
    let [batch, heads, length, head_dim] = x.dims();
    x.swap_dims(1, 2).reshape([batch, length, heads * head_dim])
}
