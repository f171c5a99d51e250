use burn::tensor::{FloatDType, Tensor};
use serde::{Deserialize, Serialize};

use crate::NoiseFactors;

/// What the network's output stands for.
///
/// All methods take `alpha` in the sense of `z = sqrt(alpha) x0 + sqrt(1 - alpha) eps`: a
/// [`NoiseLevel`](crate::NoiseLevel) shared by the batch, or a `Tensor<1>` of shape `[batch]`.
/// The other tensors are `[batch, latents, dim]`; arithmetic and results are f32 whatever their
/// dtype.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Prediction {
    /// The clean latents `x0`.
    X0,
    /// The noise `eps`.
    Eps,
    /// `v = sqrt(alpha) eps - sqrt(1 - alpha) x0` (Salimans and Ho, 2022): the default, because
    /// both conversions are free of divisions at every noise level.
    #[default]
    V,
}

impl Prediction {
    /// The estimate of the clean latents that the network's `output` for `z` stands for.
    ///
    /// For [`Prediction::Eps`] the error of `output` is multiplied by `sqrt(1 / alpha - 1)`, which
    /// is large where `alpha` is near 0.
    ///
    /// # Panics
    /// If the shapes do not agree.
    pub fn to_x0(
        self,
        z: Tensor<3>,
        alpha: impl Into<NoiseFactors>,
        output: Tensor<3>,
    ) -> Tensor<3> {
        let NoiseFactors { signal, noise } = alpha.into();
        let [z, output] = [z, output].map(to_f32);
        match self {
            Self::X0 => output,
            Self::Eps => signal.divide(z - noise.times(output)),
            Self::V => signal.times(z) - noise.times(output),
        }
    }

    /// The estimate of the noise that the network's `output` for `z` stands for.
    ///
    /// For [`Prediction::X0`] the error of `output` is multiplied by `1 / sqrt(1 / alpha - 1)`,
    /// which is large where `alpha` is near 1.
    ///
    /// # Panics
    /// If the shapes do not agree.
    pub fn to_eps(
        self,
        z: Tensor<3>,
        alpha: impl Into<NoiseFactors>,
        output: Tensor<3>,
    ) -> Tensor<3> {
        let NoiseFactors { signal, noise } = alpha.into();
        let [z, output] = [z, output].map(to_f32);
        match self {
            Self::X0 => noise.divide(z - signal.times(output)),
            Self::Eps => output,
            Self::V => noise.times(z) + signal.times(output),
        }
    }

    /// What the network should answer for `z = add_noise(x0, eps, alpha)`.
    ///
    /// # Panics
    /// If the shapes do not agree.
    pub fn target(
        self,
        x0: Tensor<3>,
        eps: Tensor<3>,
        alpha: impl Into<NoiseFactors>,
    ) -> Tensor<3> {
        let [x0, eps] = [x0, eps].map(to_f32);
        match self {
            Self::X0 => x0,
            Self::Eps => eps,
            Self::V => {
                let NoiseFactors { signal, noise } = alpha.into();
                signal.times(eps) - noise.times(x0)
            }
        }
    }
}

/// The noised latents `z = sqrt(alpha) x0 + sqrt(1 - alpha) eps`, in f32.
///
/// `x0` and `eps` are `[batch, latents, dim]`, `alpha` as in [`Prediction`].
///
/// # Panics
/// If the shapes do not agree.
pub fn add_noise(x0: Tensor<3>, eps: Tensor<3>, alpha: impl Into<NoiseFactors>) -> Tensor<3> {
    let NoiseFactors { signal, noise } = alpha.into();
    signal.times(to_f32(x0)) + noise.times(to_f32(eps))
}

fn to_f32(x: Tensor<3>) -> Tensor<3> {
    x.cast(FloatDType::F32)
}
