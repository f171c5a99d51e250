use burn::tensor::{DType, Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::checks::require;
use crate::{DiffusionError, NoiseLevel, Prediction};

/// The log-SNR counts as within +- this value, so that the weights at the two ends are finite. It is
/// far beyond the levels that f32 data can be trained at.
const LARGEST_LOG_SNR: f64 = 30.0;

/// How much each noise level counts in the training loss.
///
/// The papers state their weights for the squared error of different predictions. Here every weight
/// is defined, as `w`, for the squared error of the estimated clean data `x0` that the network's
/// output stands for, and [`weight`](Self::weight) converts it to the space of the network's own
/// target: for the same estimate,
///
/// `weight |output - target|^2 = w |x0_estimate - x0|^2`,
///
/// whatever the prediction. The ratio of the two squared errors, with `snr = signal^2 / noise^2`, is
///
/// | prediction | `x0` error / output's error |
/// |---|---|
/// | `X0` | `1` |
/// | `Eps` | `1 / snr` |
/// | `V` | `1 / ((snr + 1) (signal^2 + noise^2))`, `1 / (snr + 1)` if variance preserving |
/// | `Velocity` | `1 / (1 + sqrt(snr))^2`, `noise^2` in a rectified flow |
/// | `Edm` | `1 / (snr + 1 / sigma_data^2)`, EDM's `c_out^2` |
///
/// Thus `MinSnr` is `min(snr, gamma)` for a network that predicts `x0`, `min(snr, gamma) / snr` for
/// `eps` and `min(snr, gamma) / (snr + 1)` for `v`, as in its paper. The equality holds for
/// [`LossKind::L2`](crate::LossKind::L2); another loss is multiplied by the same number.
///
/// No weight contains the density of the noise levels, which follows from the schedule and from how
/// times are drawn: in the notation of Kingma and Gao (2023), to weight the ELBO the loss has to be
/// multiplied by `-d log_snr / dt` as well.
///
/// Written in settings as a name, `"snr"`, or as a name with parameters, `{ min_snr = { gamma = 5.0 } }`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum LossWeight {
    /// 1 for the network's own target, whatever that is: the default.
    #[default]
    Uniform,
    /// `w = snr`: the unweighted `eps` loss (Ho et al., 2020).
    Snr,
    /// `w = min(snr, gamma)` (Hang et al., 2023).
    MinSnr {
        /// Largest weight of an `x0` error, above 0 (5 in the paper).
        gamma: f64,
    },
    /// `w = max(snr, 1)` (Salimans and Ho, 2022, where it is called truncated SNR).
    TruncatedSnr,
    /// `w = snr / (k + snr)^gamma`, which is `1 / (k + snr)^gamma` for `eps`: P2 (Choi et al., 2022).
    P2 {
        /// Keeps the weight finite where there is no signal, above 0 (1 in the paper).
        k: f64,
        /// How strongly levels with little noise are played down, at least 0 (1 in the paper; 0 is
        /// [`LossWeight::Snr`]).
        gamma: f64,
    },
    /// `w = snr sigmoid(bias - log_snr)`, which is `sigmoid(bias - log_snr)` for `eps` (Kingma and
    /// Gao, 2023; Hoogeboom et al., 2024).
    Sigmoid {
        /// The log-SNR above which levels are played down.
        bias: f64,
    },
    /// `w = (sigma^2 + sigma_data^2) / (sigma sigma_data)^2` with `sigma = noise / signal` (Karras et
    /// al., 2022): 1 for an EDM network with the same `sigma_data`. With `sigma_data` 1 it is
    /// `snr + 1`, the unweighted variance-preserving `v` loss (Salimans and Ho, 2022).
    Edm {
        /// Standard deviation of the data, above 0 (0.5 in the paper).
        sigma_data: f64,
    },
    /// `w = (1 + signal / noise)^2`: the unweighted loss of the velocity `eps - x0`. In a rectified
    /// flow this is `1 / noise^2`, the `1 / (1 - t)^2` of papers in which `t = 1` is the data (Liu et
    /// al., 2022; Lipman et al., 2022).
    Velocity,
}

impl LossWeight {
    /// Checks the parameters, which come from settings.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] for a parameter outside its range or not finite.
    pub fn check(self) -> Result<(), DiffusionError> {
        match self {
            Self::MinSnr { gamma } => above_zero("the min_snr loss weight", "gamma", gamma),
            Self::P2 { k, gamma } => {
                above_zero("the p2 loss weight", "k", k)?;
                let holds = gamma.is_finite() && gamma >= 0.0;
                let requirement = "it must be a finite number and at least 0";
                require(holds, "the p2 loss weight", "gamma", gamma, requirement)
            }
            Self::Sigmoid { bias } => require(
                bias.is_finite(),
                "the sigmoid loss weight",
                "bias",
                bias,
                "it must be finite",
            ),
            Self::Edm { sigma_data } => above_zero("the edm loss weight", "sigma_data", sigma_data),
            Self::Uniform | Self::Snr | Self::TruncatedSnr | Self::Velocity => Ok(()),
        }
    }

    /// The factor on the loss of a network with this prediction, in the space of its own target, at
    /// this level.
    ///
    /// Finite and at least 0: a log-SNR beyond +-30, the two ends included, counts as +-30 (the sum
    /// `signal^2 + noise^2` of `V` stays the level's own).
    pub fn weight(self, level: NoiseLevel, prediction: Prediction) -> f64 {
        let log_snr = level.log_snr().clamp(-LARGEST_LOG_SNR, LARGEST_LOG_SNR);
        let snr = log_snr.exp();
        let of_x0_error = match self {
            Self::Uniform => return 1.0,
            Self::Snr => snr,
            Self::MinSnr { gamma } => snr.min(gamma),
            Self::TruncatedSnr => snr.max(1.0),
            Self::P2 { k, gamma } => snr * (k + snr).powf(-gamma),
            Self::Sigmoid { bias } => snr / (1.0 + (log_snr - bias).exp()),
            Self::Edm { sigma_data } => snr + sigma_data.powi(-2),
            Self::Velocity => (1.0 + snr.sqrt()).powi(2),
        };
        of_x0_error * x0_error(prediction, level, snr)
    }

    /// [`weight`](Self::weight) of every sample's level, f32, of shape `[batch]`: computed on the
    /// host, then moved to `device`.
    pub fn weights(
        self,
        levels: &[NoiseLevel],
        prediction: Prediction,
        device: &Device,
    ) -> Tensor<1> {
        let weights: Vec<f32> =
            levels.iter().map(|&level| self.weight(level, prediction) as f32).collect();
        Tensor::from_data(TensorData::new(weights, [levels.len()]), (device, DType::F32))
    }
}

/// The squared error of `x0` that a squared error of 1 of the network's output stands for.
fn x0_error(prediction: Prediction, level: NoiseLevel, snr: f64) -> f64 {
    match prediction {
        Prediction::X0 => 1.0,
        Prediction::Eps => 1.0 / snr,
        Prediction::V => {
            let total = level.signal().powi(2) + level.noise().powi(2);
            1.0 / ((snr + 1.0) * total)
        }
        Prediction::Velocity => (1.0 + snr.sqrt()).powi(-2),
        Prediction::Edm { sigma_data } => 1.0 / (snr + sigma_data.powi(-2)),
    }
}

fn above_zero(what: &'static str, setting: &'static str, value: f64) -> Result<(), DiffusionError> {
    let holds = value.is_finite() && value > 0.0;
    require(holds, what, setting, value, "it must be a finite number above 0")
}
