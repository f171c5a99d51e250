use burn::tensor::{Bool, FloatDType, Tensor};

use super::{LossKind, difference};

/// The loss of every sample over its valid positions only, of shape `[batch]`.
///
/// `output` and `target` are `[batch, positions, dim]`; `mask` is `[batch, positions]`, true where a
/// position counts. A sample's loss is the mean of the elementwise loss over its valid positions and
/// all dimensions, so that it does not depend on how much padding the sample has. A sample without a
/// valid position has loss 0. Positions that do not count have no influence and receive a gradient
/// of 0, even where their values are not finite. Computed and returned in f32.
///
/// # Panics
/// If the shapes do not agree.
pub fn masked_loss_per_sample(
    kind: LossKind,
    output: Tensor<3>,
    target: Tensor<3>,
    mask: Tensor<2, Bool>,
) -> Tensor<1> {
    let difference = difference(output, target);
    let [batch, positions, dim] = difference.dims();
    assert_eq!(mask.dims(), [batch, positions], "one mask entry a position");

    let counted = mask.clone().float().cast(FloatDType::F32).sum_dim(1) * dim as f64;
    let ignored = mask.bool_not().unsqueeze_dim::<3>(2).expand([batch, positions, dim]);
    // Masked before the loss: behind it, a value that is not finite would still reach the gradient.
    let losses = kind.of(difference.mask_fill(ignored, 0.0));
    let total = losses.reshape([batch, positions * dim]).sum_dim(1);
    (total / counted.clamp_min(1.0)).reshape([batch])
}
