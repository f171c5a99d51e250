use burn::tensor::{FloatDType, Tensor};

/// Divisors are kept at least this large, as in the reference implementation of LD4LG.
const SMALLEST_DIVISOR: f64 = 1e-8;

/// One noise level, held on the host as its log signal-to-noise ratio `ln(alpha / (1 - alpha))`.
///
/// `alpha` is the variance-scale quantity of LD4LG: `z = sqrt(alpha) x0 + sqrt(1 - alpha) eps`
/// (Ho et al.'s alpha-bar). All values are computed from the log-SNR in f64, so that neither
/// `alpha` near 0 nor `1 - alpha` near 0 loses digits.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct NoiseLevel {
    log_snr: f64,
}

impl NoiseLevel {
    /// The level with this log-SNR.
    pub fn from_log_snr(log_snr: f64) -> Self {
        Self { log_snr }
    }

    /// `ln(alpha / (1 - alpha))`.
    pub fn log_snr(self) -> f64 {
        self.log_snr
    }

    /// `alpha`, the variance of the signal part of `z`.
    pub fn alpha(self) -> f64 {
        self.log_alpha().exp()
    }

    /// `ln alpha`.
    pub fn log_alpha(self) -> f64 {
        log_sigmoid(self.log_snr)
    }

    /// `sqrt(alpha)`, the factor of `x0` in `z`.
    pub fn signal(self) -> f64 {
        (0.5 * self.log_alpha()).exp()
    }

    /// `sqrt(1 - alpha)`, the factor of `eps` in `z`.
    pub fn noise(self) -> f64 {
        (0.5 * log_sigmoid(-self.log_snr)).exp()
    }
}

fn log_sigmoid(x: f64) -> f64 {
    x.min(0.0) - (-x.abs()).exp().ln_1p()
}

/// The two factors of `z = sqrt(alpha) x0 + sqrt(1 - alpha) eps` as they multiply tensors of shape
/// `[batch, latents, dim]`.
///
/// Made from a [`NoiseLevel`] that the whole batch shares (sampling; the factors keep f64
/// accuracy) or from a `Tensor<1>` with one `alpha` a sample (training).
#[derive(Debug, Clone)]
pub struct NoiseFactors {
    pub(crate) signal: Factor,
    pub(crate) noise: Factor,
}

impl From<NoiseLevel> for NoiseFactors {
    fn from(level: NoiseLevel) -> Self {
        Self { signal: Factor::Shared(level.signal()), noise: Factor::Shared(level.noise()) }
    }
}

impl From<Tensor<1>> for NoiseFactors {
    /// From one `alpha` in (0, 1) a sample, of shape `[batch]`.
    fn from(alpha: Tensor<1>) -> Self {
        let [batch] = alpha.dims();
        let alpha = alpha.cast(FloatDType::F32).reshape([batch, 1, 1]);
        Self {
            signal: Factor::PerSample(alpha.clone().sqrt()),
            noise: Factor::PerSample((1.0_f32 - alpha).sqrt()),
        }
    }
}

#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "lives for one conversion, never in a collection")]
pub(crate) enum Factor {
    Shared(f64),
    /// Shape `[batch, 1, 1]`.
    PerSample(Tensor<3>),
}

impl Factor {
    pub(crate) fn times(&self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Shared(factor) => x * *factor,
            Self::PerSample(factor) => x * factor.clone(),
        }
    }

    pub(crate) fn divide(&self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Shared(factor) => x / factor.max(SMALLEST_DIVISOR),
            Self::PerSample(factor) => x / factor.clone().clamp_min(SMALLEST_DIVISOR),
        }
    }
}
