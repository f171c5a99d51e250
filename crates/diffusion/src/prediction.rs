use burn::tensor::{FloatDType, Tensor};
use serde::{Deserialize, Serialize};

use crate::NoiseFactors;
use crate::level::{Factor, combine};

/// What the network's output stands for.
///
/// All methods take the level of `z = signal x0 + noise eps` as [`NoiseFactors`]: from a
/// [`NoiseLevel`](crate::NoiseLevel) that the batch shares, from one level a sample, or from a
/// `Tensor<1>` with one variance-preserving `alpha` a sample. The other tensors are `[batch, ..]`;
/// arithmetic and results are f32 whatever their dtype. In the formulas `a` is the signal and `s` the
/// noise of the level.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Prediction {
    /// The clean data `x0`.
    X0,
    /// The noise `eps`.
    Eps,
    /// `v = a eps - s x0` (Salimans and Ho, 2022): the default, because both conversions are free of
    /// divisions at every noise level.
    #[default]
    V,
    /// The velocity `eps - x0` of a straight flow (Lipman et al., 2022).
    Velocity,
    /// EDM's network (Karras et al., 2022, equation 7): `x0 = c_skip y + c_out F(c_in y)` of the data
    /// with noise `y = x0 + (s / a) eps`, where input, output and target have about unit variance.
    /// The network is to be given [`input_scale`](Self::input_scale) times `z`.
    Edm {
        /// Standard deviation of the data, above 0 (0.5 in the paper).
        sigma_data: f64,
    },
}

impl Prediction {
    /// The estimate of the clean data that the network's `output` for `z` stands for.
    ///
    /// For [`Prediction::Eps`] the error of `output` is multiplied by `s / a`, which is large where
    /// there is little signal.
    ///
    /// # Panics
    /// If the shapes do not agree.
    pub fn to_x0<const D: usize>(
        self,
        z: Tensor<D>,
        level: impl Into<NoiseFactors>,
        output: Tensor<D>,
    ) -> Tensor<D> {
        let [of_z, of_output] = self.x0_factors(level.into());
        combine((of_z, to_f32(z)), (of_output, to_f32(output)))
    }

    /// The estimate of the noise that the network's `output` for `z` stands for.
    ///
    /// For [`Prediction::X0`] the error of `output` is multiplied by `a / s`, which is large where
    /// there is little noise.
    ///
    /// # Panics
    /// If the shapes do not agree.
    pub fn to_eps<const D: usize>(
        self,
        z: Tensor<D>,
        level: impl Into<NoiseFactors>,
        output: Tensor<D>,
    ) -> Tensor<D> {
        let [of_z, of_output] = self.eps_factors(level.into());
        combine((of_z, to_f32(z)), (of_output, to_f32(output)))
    }

    /// What a network of this kind would have answered for `z` if `x0` is its estimate.
    ///
    /// # Panics
    /// If the shapes do not agree.
    pub fn from_x0<const D: usize>(
        self,
        z: Tensor<D>,
        level: impl Into<NoiseFactors>,
        x0: Tensor<D>,
    ) -> Tensor<D> {
        let level = level.into();
        let eps = Self::X0.to_eps(z, level.clone(), x0.clone());
        self.target(x0, eps, level)
    }

    /// What the network should answer for `z = add_noise(x0, eps, level)`.
    ///
    /// # Panics
    /// If the shapes do not agree.
    pub fn target<const D: usize>(
        self,
        x0: Tensor<D>,
        eps: Tensor<D>,
        level: impl Into<NoiseFactors>,
    ) -> Tensor<D> {
        let [of_x0, of_eps] = self.target_factors(level.into());
        combine((of_x0, to_f32(x0)), (of_eps, to_f32(eps)))
    }

    /// The factor on `z` that brings the network's input to about unit variance:
    /// `1 / sqrt(a^2 sigma_data^2 + s^2)` for [`Prediction::Edm`], 1 for the others.
    pub fn input_scale(self, level: crate::NoiseLevel) -> f64 {
        match self {
            Self::Edm { sigma_data } => (level.signal() * sigma_data).hypot(level.noise()).recip(),
            _ => 1.0,
        }
    }

    /// The factors of `z` and of the output in `x0`.
    pub(crate) fn x0_factors(self, level: NoiseFactors) -> [Factor; 2] {
        let NoiseFactors { signal: a, noise: s } = level;
        match self {
            Self::X0 => [Factor::Shared(0.0), Factor::Shared(1.0)],
            Self::Eps => {
                let by_signal = a.recip();
                [by_signal.clone(), -s * by_signal]
            }
            Self::V => {
                let by_total = squares(&a, &s).recip();
                [a * by_total.clone(), -s * by_total]
            }
            Self::Velocity => {
                let by_sum = (a + s.clone()).recip();
                [by_sum.clone(), -s * by_sum]
            }
            Self::Edm { sigma_data } => {
                let data = Factor::Shared(sigma_data);
                let by_total = squares(&(a.clone() * data.clone()), &s).recip();
                let of_z = a * data.clone() * data.clone() * by_total.clone();
                [of_z, s * data * by_total.sqrt()]
            }
        }
    }

    /// The factors of `z` and of the output in `eps`.
    pub(crate) fn eps_factors(self, level: NoiseFactors) -> [Factor; 2] {
        let NoiseFactors { signal: a, noise: s } = level;
        match self {
            Self::X0 => {
                let by_noise = s.recip();
                [by_noise.clone(), -a * by_noise]
            }
            Self::Eps => [Factor::Shared(0.0), Factor::Shared(1.0)],
            Self::V => {
                let by_total = squares(&a, &s).recip();
                [s * by_total.clone(), a * by_total]
            }
            Self::Velocity => {
                let by_sum = (a.clone() + s).recip();
                [by_sum.clone(), a * by_sum]
            }
            Self::Edm { sigma_data } => {
                let data = Factor::Shared(sigma_data);
                let by_total = squares(&(a.clone() * data.clone()), &s).recip();
                [s * by_total.clone(), -a * data * by_total.sqrt()]
            }
        }
    }

    /// The factors of `x0` and of `eps` in what the network should answer.
    fn target_factors(self, level: NoiseFactors) -> [Factor; 2] {
        let NoiseFactors { signal: a, noise: s } = level;
        match self {
            Self::X0 => [Factor::Shared(1.0), Factor::Shared(0.0)],
            Self::Eps => [Factor::Shared(0.0), Factor::Shared(1.0)],
            Self::V => [-s, a],
            Self::Velocity => [Factor::Shared(-1.0), Factor::Shared(1.0)],
            Self::Edm { sigma_data } => {
                let data = Factor::Shared(sigma_data);
                let by_total = squares(&(a.clone() * data.clone()), &s).recip().sqrt();
                [s * Factor::Shared(sigma_data.recip()) * by_total.clone(), -a * data * by_total]
            }
        }
    }
}

fn squares(x: &Factor, y: &Factor) -> Factor {
    x.clone() * x.clone() + y.clone() * y.clone()
}

/// The noised data `z = signal x0 + noise eps`, in f32.
///
/// `x0` and `eps` are `[batch, ..]`, the level as in [`Prediction`].
///
/// # Panics
/// If the shapes do not agree.
pub fn add_noise<const D: usize>(
    x0: Tensor<D>,
    eps: Tensor<D>,
    level: impl Into<NoiseFactors>,
) -> Tensor<D> {
    let NoiseFactors { signal, noise } = level.into();
    combine((signal, to_f32(x0)), (noise, to_f32(eps)))
}

fn to_f32<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.cast(FloatDType::F32)
}
