mod masked;
mod weight;

use burn::tensor::{FloatDType, Tensor};
use serde::{Deserialize, Serialize};

pub use masked::masked_loss_per_sample;
pub use weight::LossWeight;

use crate::DiffusionError;
use crate::checks::require;

/// How far the network's output is from its target, element by element.
///
/// Written in settings as a name, `"l2"`, or as a name with its parameter, `{ huber = { delta = 0.1 } }`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum LossKind {
    /// Squared difference. LD4LG's choice for unconditional and class-conditional models, and the
    /// default.
    #[default]
    L2,
    /// Absolute difference. LD4LG's choice for sequence-to-sequence models.
    L1,
    /// `0.5 d^2` for differences `d` below 1, `|d| - 0.5` above: Huber's loss with `delta` 1.
    SmoothL1,
    /// `0.5 d^2` for differences `d` below `delta`, `delta (|d| - 0.5 delta)` above (Huber, 1964;
    /// PyTorch's `huber_loss`).
    Huber {
        /// Where the square turns into a straight line, above 0 (PyTorch's default is 1).
        delta: f64,
    },
}

impl LossKind {
    /// Checks the parameters, which come from settings.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] unless `delta` is finite and above 0.
    pub fn check(self) -> Result<(), DiffusionError> {
        match self {
            Self::Huber { delta } => {
                let holds = delta.is_finite() && delta > 0.0;
                require(
                    holds,
                    "the huber loss",
                    "delta",
                    delta,
                    "it must be a finite number above 0",
                )
            }
            Self::L2 | Self::L1 | Self::SmoothL1 => Ok(()),
        }
    }

    /// The loss of every element of a difference.
    fn of<const D: usize>(self, difference: Tensor<D>) -> Tensor<D> {
        match self {
            Self::L2 => difference.square(),
            Self::L1 => difference.abs(),
            Self::SmoothL1 => huber(difference, 1.0),
            Self::Huber { delta } => huber(difference, delta),
        }
    }
}

fn huber<const D: usize>(difference: Tensor<D>, delta: f64) -> Tensor<D> {
    let size = difference.abs();
    let square_part = size.clone().clamp_max(delta);
    square_part.clone() * (size - square_part * 0.5)
}

/// The training loss, of shape `[1]`: [`loss_per_sample`] averaged over the batch.
///
/// # Panics
/// If the shapes differ.
pub fn loss<const D: usize>(kind: LossKind, output: Tensor<D>, target: Tensor<D>) -> Tensor<1> {
    loss_per_sample(kind, output, target).mean()
}

/// The training loss with one factor a sample, of shape `[1]`: [`loss_per_sample`] times `weights`,
/// averaged over the batch.
///
/// `weights`, of shape `[batch]`, are those of the noise levels ([`LossWeight::weights`]), of the
/// times ([`TimeDraw::weight_tensor`](crate::times::TimeDraw::weight_tensor)) or the product of both.
/// The sum is divided by the batch size and not by the sum of the weights, so that the weights of an
/// importance sampling leave the expected loss as it is.
///
/// # Panics
/// If the shapes of `output` and `target` differ or there is not one weight a sample.
pub fn weighted_loss<const D: usize>(
    kind: LossKind,
    output: Tensor<D>,
    target: Tensor<D>,
    weights: Tensor<1>,
) -> Tensor<1> {
    let losses = loss_per_sample(kind, output, target);
    assert_eq!(losses.dims(), weights.dims(), "one loss weight a sample");
    (losses * weights.cast(FloatDType::F32)).mean()
}

/// The loss of every sample, of shape `[batch]`: the mean over all other dimensions of the
/// elementwise loss of `output` against `target`, both `[batch, ..]`. No weighting by time. Computed
/// and returned in f32.
///
/// # Panics
/// If the shapes differ.
pub fn loss_per_sample<const D: usize>(
    kind: LossKind,
    output: Tensor<D>,
    target: Tensor<D>,
) -> Tensor<1> {
    let difference = difference(output, target);
    let shape = difference.dims();
    let (batch, elements) = (shape[0], shape[1..].iter().product());
    kind.of(difference.reshape([batch, elements])).mean_dim(1).reshape([batch])
}

fn difference<const D: usize>(output: Tensor<D>, target: Tensor<D>) -> Tensor<D> {
    assert_eq!(output.dims(), target.dims(), "shapes of the network's output and of its target");
    output.cast(FloatDType::F32) - target.cast(FloatDType::F32)
}
