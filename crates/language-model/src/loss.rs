use burn::tensor::{Bool, FloatDType, Int, Tensor};

/// What the decoder sees while it learns to write `labels`: `start` in front, the last label gone.
///
/// # Shapes
/// - `labels`: `[batch, length]` token ids
/// - returns `[batch, length]`
pub fn shift_right(labels: Tensor<2, Int>, start: u32) -> Tensor<2, Int> {
    let length = labels.dims()[1];
    let first = labels.clone().narrow(1, 0, 1).full_like(start);
    if length == 1 {
        return first;
    }
    Tensor::cat(vec![first, labels.narrow(1, 0, length - 1)], 1)
}

/// What the decoder of an mBART sees while it learns to write `labels`: of each text, the last token
/// that is not `pad`, which names the language, in front, and the last label gone.
///
/// # Shapes
/// - `labels`: `[batch, length]` token ids, `pad` behind each text's last
/// - returns `[batch, length]`
pub fn shift_language_first(labels: Tensor<2, Int>, pad: u32) -> Tensor<2, Int> {
    let length = labels.dims()[1];
    let real = labels.clone().not_equal_elem(pad).int().sum_dim(1);
    let language = labels.clone().gather(1, (real - 1).clamp_min(0));
    if length == 1 {
        return language;
    }
    Tensor::cat(vec![language, labels.narrow(1, 0, length - 1)], 1)
}

/// Mean cross-entropy, in nats, of the counted positions; computed in f32.
///
/// # Shapes
/// - `logits`: `[batch, length, vocabulary]`
/// - `labels`: `[batch, length]` token ids, valid ones also where they don't count
/// - `counted`: `[batch, length]`, `true` where a position counts
/// - returns `[1]`, which is 0 if no position counts
pub fn cross_entropy(
    logits: Tensor<3>,
    labels: Tensor<2, Int>,
    counted: Tensor<2, Bool>,
) -> Tensor<1> {
    let [batch, length, vocabulary] = logits.dims();
    let rows = batch * length;
    let logits = logits.reshape([rows, vocabulary]).cast(FloatDType::F32);
    // The shift keeps the exponentials finite and cancels out of the result, gradients included.
    let shifted = logits.clone() - logits.detach().max_dim(1);
    let of_label = shifted.clone().gather(1, labels.reshape([rows, 1]));
    let nats = shifted.exp().sum_dim(1).log() - of_label;
    let counted = counted.reshape([rows, 1]).float().cast(FloatDType::F32);
    (nats * counted.clone()).sum() / counted.sum().clamp_min(1.0)
}
