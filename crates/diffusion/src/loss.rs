use burn::tensor::{FloatDType, Tensor};
use serde::{Deserialize, Serialize};

/// How far the network's output is from its target, element by element.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LossKind {
    /// Squared difference. LD4LG's choice for unconditional and class-conditional models, and the
    /// default.
    #[default]
    L2,
    /// Absolute difference. LD4LG's choice for sequence-to-sequence models.
    L1,
    /// `0.5 d^2` for differences `d` below 1, `|d| - 0.5` above.
    SmoothL1,
}

/// The training loss, of shape `[1]`: [`loss_per_sample`] averaged over the batch.
///
/// # Panics
/// If the shapes do not agree.
pub fn loss(kind: LossKind, output: Tensor<3>, target: Tensor<3>) -> Tensor<1> {
    loss_per_sample(kind, output, target).mean()
}

/// The loss of every sample, of shape `[batch]`: the mean over latents and dimensions of the
/// elementwise loss of `output` against `target`, both `[batch, latents, dim]`. No weighting by
/// time. Computed and returned in f32.
///
/// # Panics
/// If the shapes do not agree.
pub fn loss_per_sample(kind: LossKind, output: Tensor<3>, target: Tensor<3>) -> Tensor<1> {
    let difference = output.cast(FloatDType::F32) - target.cast(FloatDType::F32);
    let [batch, latents, dim] = difference.dims();
    elementwise(kind, difference.reshape([batch, latents * dim])).mean_dim(1).reshape([batch])
}

fn elementwise(kind: LossKind, difference: Tensor<2>) -> Tensor<2> {
    match kind {
        LossKind::L2 => difference.square(),
        LossKind::L1 => difference.abs(),
        LossKind::SmoothL1 => {
            let size = difference.abs();
            let below_one = size.clone().clamp_max(1.0);
            below_one.clone() * (size - below_one * 0.5)
        }
    }
}
