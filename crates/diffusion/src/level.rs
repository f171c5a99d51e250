use std::ops::{Add, Mul, Neg};

use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// Divisors are kept at least this large, as in the reference implementation of LD4LG.
const SMALLEST_DIVISOR: f64 = 1e-8;

/// How the factors of `z = signal x0 + noise eps` follow from the log signal-to-noise ratio
/// `ln(signal^2 / noise^2)`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Family {
    /// `signal^2 + noise^2 = 1` (Ho et al., 2020; LD4LG). The default.
    #[default]
    VariancePreserving,
    /// `signal = 1`, `noise` any positive number (Song et al., 2021; EDM, Karras et al., 2022).
    VarianceExploding,
    /// `signal + noise = 1`: straight lines from data to noise (Liu et al., 2022; Lipman et al.,
    /// 2022).
    RectifiedFlow,
}

/// One noise level, held on the host in f64: the two factors of `z = signal x0 + noise eps` and their
/// log signal-to-noise ratio.
///
/// Everything is computed from the log-SNR, so that neither a signal nor a noise near 0 loses digits.
/// The ends are allowed: a log-SNR of infinity is clean data, of minus infinity pure noise.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct NoiseLevel {
    log_snr: f64,
    signal: f64,
    noise: f64,
    family: Family,
}

impl NoiseLevel {
    /// Clean data: signal 1, noise 0.
    pub const DATA: Self = Self {
        log_snr: f64::INFINITY,
        signal: 1.0,
        noise: 0.0,
        family: Family::VariancePreserving,
    };

    /// The level of this log-SNR, `ln(signal^2 / noise^2)`, in a family.
    pub fn new(family: Family, log_snr: f64) -> Self {
        let (signal, noise) = match family {
            Family::VariancePreserving => {
                ((0.5 * log_sigmoid(log_snr)).exp(), (0.5 * log_sigmoid(-log_snr)).exp())
            }
            Family::VarianceExploding => (1.0, (-0.5 * log_snr).exp()),
            Family::RectifiedFlow => {
                (log_sigmoid(0.5 * log_snr).exp(), log_sigmoid(-0.5 * log_snr).exp())
            }
        };
        Self { log_snr, signal, noise, family }
    }

    /// The variance-preserving level with this log-SNR.
    pub fn from_log_snr(log_snr: f64) -> Self {
        Self::new(Family::VariancePreserving, log_snr)
    }

    /// `ln(signal^2 / noise^2) = ln(alpha / (1 - alpha))`.
    pub fn log_snr(self) -> f64 {
        self.log_snr
    }

    /// `alpha = signal^2 / (signal^2 + noise^2)`, in [0, 1], whatever the family.
    ///
    /// This is the variance-scale quantity of LD4LG (Ho et al.'s alpha-bar):
    /// `z = sqrt(alpha) x0 + sqrt(1 - alpha) eps` for a variance-preserving level.
    pub fn alpha(self) -> f64 {
        log_sigmoid(self.log_snr).exp()
    }

    /// The factor of `x0` in `z`.
    pub fn signal(self) -> f64 {
        self.signal
    }

    /// The factor of `eps` in `z`.
    pub fn noise(self) -> f64 {
        self.noise
    }

    /// How the factors follow from the log-SNR.
    pub fn family(self) -> Family {
        self.family
    }

    /// The level of the same family with another `sigma`.
    pub(crate) fn with_sigma(self, sigma: f64) -> Self {
        Self::new(self.family, -2.0 * sigma.ln())
    }

    /// Half the log-SNR, `ln(signal / noise)`, in which the exponential integrators count.
    pub(crate) fn half_log_snr(self) -> f64 {
        0.5 * self.log_snr
    }

    /// `sigma = noise / signal`, EDM's noise level; infinity for pure noise.
    pub fn sigma(self) -> f64 {
        (-0.5 * self.log_snr).exp()
    }
}

/// `ln(1 / (1 + exp(-x)))` without overflow.
pub(crate) fn log_sigmoid(x: f64) -> f64 {
    match x {
        f64::NEG_INFINITY => f64::NEG_INFINITY,
        _ => x.min(0.0) - (-x.abs()).exp().ln_1p(),
    }
}

/// The two factors of `z = signal x0 + noise eps` as they multiply tensors of shape `[batch, ..]`.
///
/// Made from a [`NoiseLevel`] that the whole batch shares (sampling; the factors keep f64 accuracy),
/// from one level a sample ([`per_sample`](Self::per_sample), training), or from a `Tensor<1>` with
/// one variance-preserving `alpha` a sample.
#[derive(Debug, Clone)]
pub struct NoiseFactors {
    pub(crate) signal: Factor,
    pub(crate) noise: Factor,
}

impl NoiseFactors {
    /// The factors of one level for each sample, as f32 tensors on `device`.
    pub fn per_sample(levels: &[NoiseLevel], device: &Device) -> Self {
        let factor = |value: fn(NoiseLevel) -> f64| {
            let values: Vec<f32> = levels.iter().map(|&level| value(level) as f32).collect();
            let data = TensorData::new(values, [levels.len()]);
            Factor::PerSample(Tensor::from_data(data, (device, DType::F32)))
        };
        Self { signal: factor(NoiseLevel::signal), noise: factor(NoiseLevel::noise) }
    }
}

impl From<NoiseLevel> for NoiseFactors {
    fn from(level: NoiseLevel) -> Self {
        Self { signal: Factor::Shared(level.signal()), noise: Factor::Shared(level.noise()) }
    }
}

impl From<Tensor<1>> for NoiseFactors {
    /// From one variance-preserving `alpha` in (0, 1) a sample, of shape `[batch]`.
    fn from(alpha: Tensor<1>) -> Self {
        let alpha = alpha.cast(FloatDType::F32);
        Self {
            signal: Factor::PerSample(alpha.clone().sqrt()),
            noise: Factor::PerSample((1.0_f32 - alpha).sqrt()),
        }
    }
}

/// A number for the whole batch, or one a sample.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "lives for one conversion, never in a collection")]
pub(crate) enum Factor {
    Shared(f64),
    /// Shape `[batch]`, f32.
    PerSample(Tensor<1>),
}

impl Factor {
    /// This factor times `x`, of shape `[batch, ..]`; `None` where it is nothing.
    pub(crate) fn times<const D: usize>(&self, x: Tensor<D>) -> Option<Tensor<D>> {
        match self {
            Self::Shared(0.0) => None,
            Self::Shared(1.0) => Some(x),
            Self::Shared(factor) => Some(x * *factor),
            Self::PerSample(factor) => {
                let mut shape = [1; D];
                shape[0] = factor.dims()[0];
                Some(x * factor.clone().reshape(shape))
            }
        }
    }

    pub(crate) fn sqrt(self) -> Self {
        match self {
            Self::Shared(x) => Self::Shared(x.sqrt()),
            Self::PerSample(x) => Self::PerSample(x.sqrt()),
        }
    }

    /// `1 / self`, with `self` kept away from 0 as in the reference implementation of LD4LG.
    pub(crate) fn recip(self) -> Self {
        match self {
            Self::Shared(x) => Self::Shared(1.0 / x.max(SMALLEST_DIVISOR)),
            Self::PerSample(x) => Self::PerSample(x.clamp_min(SMALLEST_DIVISOR).recip()),
        }
    }
}

impl Add for Factor {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        match (self, other) {
            (Self::Shared(x), Self::Shared(y)) => Self::Shared(x + y),
            (Self::PerSample(x), Self::PerSample(y)) => Self::PerSample(x + y),
            (Self::Shared(x), Self::PerSample(y)) | (Self::PerSample(y), Self::Shared(x)) => {
                Self::PerSample(y + x)
            }
        }
    }
}

impl Mul for Factor {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        match (self, other) {
            (Self::Shared(x), Self::Shared(y)) => Self::Shared(x * y),
            (Self::PerSample(x), Self::PerSample(y)) => Self::PerSample(x * y),
            (Self::Shared(x), Self::PerSample(y)) | (Self::PerSample(y), Self::Shared(x)) => {
                Self::PerSample(y * x)
            }
        }
    }
}

impl Neg for Factor {
    type Output = Self;

    fn neg(self) -> Self {
        Self::Shared(-1.0) * self
    }
}

/// `x_factor x + y_factor y`, of shape `[batch, ..]`.
pub(crate) fn combine<const D: usize>(
    (x_factor, x): (Factor, Tensor<D>),
    (y_factor, y): (Factor, Tensor<D>),
) -> Tensor<D> {
    let nothing = x.clone();
    match (x_factor.times(x), y_factor.times(y)) {
        (Some(x), Some(y)) => x + y,
        (Some(sum), None) | (None, Some(sum)) => sum,
        (None, None) => nothing.zeros_like(),
    }
}
