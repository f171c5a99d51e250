//! Times for training: at which noise levels a batch is trained.
//!
//! [`TimeSampling`] is the setting and [`TimeSampler`] the checked sampler made from it. Times are in
//! [0, 1], 0 data and 1 noise; [`NoiseSchedule::level`](crate::NoiseSchedule::level) turns them into
//! noise levels. Every draw comes from the caller's generator.
//!
//! ```
//! use latent_text_diffusion::times::{Importance, TimeSampling};
//! use latent_text_diffusion::{DiffusionError, NoiseScheduleConfig};
//! use rand::SeedableRng;
//! use rand_chacha::ChaCha8Rng;
//!
//! # fn main() -> Result<(), DiffusionError> {
//! let schedule = NoiseScheduleConfig::default().init()?;
//! let mut sampler = TimeSampling::Importance(Importance::default()).init()?;
//! let mut rng = ChaCha8Rng::seed_from_u64(1);
//!
//! let draw = sampler.draw(4, &mut rng);
//! let levels: Vec<_> = draw.times.iter().map(|&t| schedule.level(t)).collect();
//! // A training step at `levels`, its losses times `draw.weight_tensor(&device)`. Then the losses
//! // without these weights, read back from the device:
//! sampler.update(&draw.times, &[0.1, 0.2, 0.4, 0.3])?;
//! # Ok(())
//! # }
//! ```

mod draws;
mod history;

use burn::tensor::{DType, Device, Tensor, TensorData};
use rand::Rng;
use serde::{Deserialize, Serialize};

pub use history::{Importance, LossHistory};

use crate::DiffusionError;
use crate::checks::require;

/// How the times of a training batch are drawn.
///
/// Written in settings as a name, `"uniform"`, or as a name with parameters,
/// `{ logit_normal = { mean = 0.0, std = 1.0 } }`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum TimeSampling {
    /// Independent and uniform in [0, 1): the default.
    #[default]
    Uniform,
    /// One draw for the whole batch: `(u + i / batch) mod 1` for sample `i` (Kingma et al., 2021,
    /// variational diffusion models), which puts exactly one time in each of `batch` strata of equal
    /// length. Each time alone is uniform; their mean varies far less than that of independent times.
    ///
    /// The times are in random order, so that whatever else depends on the place in the batch is
    /// independent of the time.
    LowDiscrepancy,
    /// Independent, `sigmoid(mean + std n)` with `n` standard normal (Esser et al., 2024, Stable
    /// Diffusion 3). The density of the times is meant as a weighting of its own, so the loss is not
    /// divided by it.
    LogitNormal {
        /// Mean of the logit; below 0 prefers little noise, above 0 much noise (0 in the paper).
        mean: f64,
        /// Standard deviation of the logit, above 0 (1 in the paper).
        std: f64,
    },
    /// More often where the loss is large, by a [`LossHistory`]; weights of the inverse density keep
    /// the expected loss what it is for uniform times (Nichol and Dhariwal, 2021).
    Importance(Importance),
}

impl TimeSampling {
    /// Checks the settings and makes the sampler, for importance sampling with an empty history.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] for a parameter outside its range or not finite.
    pub fn init(&self) -> Result<TimeSampler, DiffusionError> {
        let method = match self {
            Self::Uniform => Method::Uniform,
            Self::LowDiscrepancy => Method::LowDiscrepancy,
            Self::LogitNormal { mean, std } => {
                let what = "logit_normal time sampling";
                require(mean.is_finite(), what, "mean", *mean, "it must be finite")?;
                let holds = std.is_finite() && *std > 0.0;
                require(holds, what, "std", *std, "it must be a finite number above 0")?;
                Method::LogitNormal { mean: *mean, std: *std }
            }
            Self::Importance(settings) => Method::Importance(settings.init()?),
        };
        Ok(TimeSampler { method })
    }
}

/// The times of one batch.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeDraw {
    /// One time in [0, 1] a sample.
    pub times: Vec<f64>,
    /// One factor on the loss a sample: for importance sampling the inverse of the density of its
    /// time, 1 otherwise.
    pub weights: Vec<f64>,
}

impl TimeDraw {
    fn unweighted(times: Vec<f64>) -> Self {
        let weights = vec![1.0; times.len()];
        Self { times, weights }
    }

    /// The weights on `device`, f32, of shape `[batch]`.
    pub fn weight_tensor(&self, device: &Device) -> Tensor<1> {
        let weights: Vec<f32> = self.weights.iter().map(|&weight| weight as f32).collect();
        Tensor::from_data(TensorData::new(weights, [self.weights.len()]), (device, DType::F32))
    }
}

/// Draws times as its [`TimeSampling`] says. All its state is the [`LossHistory`] of importance
/// sampling, which a checkpoint stores and [`resume`](Self::resume) takes back.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeSampler {
    method: Method,
}

#[derive(Debug, Clone, PartialEq)]
enum Method {
    Uniform,
    LowDiscrepancy,
    LogitNormal { mean: f64, std: f64 },
    Importance(LossHistory),
}

impl TimeSampler {
    /// Times for a batch of this many samples.
    pub fn draw<R: Rng + ?Sized>(&self, batch: usize, rng: &mut R) -> TimeDraw {
        match &self.method {
            Method::Uniform => TimeDraw::unweighted(draws::uniform(batch, rng)),
            Method::LowDiscrepancy => TimeDraw::unweighted(draws::low_discrepancy(batch, rng)),
            Method::LogitNormal { mean, std } => {
                TimeDraw::unweighted(draws::logit_normal(*mean, *std, batch, rng))
            }
            Method::Importance(history) => history.draw(batch, rng),
        }
    }

    /// Tells importance sampling what the losses at these times were; nothing happens for the other
    /// methods. See [`LossHistory::update`].
    ///
    /// # Errors
    /// As [`LossHistory::update`].
    pub fn update(&mut self, times: &[f64], losses: &[f32]) -> Result<(), DiffusionError> {
        match &mut self.method {
            Method::Importance(history) => history.update(times, losses),
            Method::Uniform | Method::LowDiscrepancy | Method::LogitNormal { .. } => Ok(()),
        }
    }

    /// Whether [`update`](Self::update) needs the losses, which costs reading them from the device.
    pub fn needs_losses(&self) -> bool {
        self.history().is_some()
    }

    /// The history of importance sampling.
    pub fn history(&self) -> Option<&LossHistory> {
        match &self.method {
            Method::Importance(history) => Some(history),
            Method::Uniform | Method::LowDiscrepancy | Method::LogitNormal { .. } => None,
        }
    }

    /// Continues with a stored history. Its losses are kept; the other settings are the sampler's.
    ///
    /// # Errors
    /// [`DiffusionError::LossHistoryBins`] if it has another number of bins, or if this sampler has
    /// no history.
    pub fn resume(&mut self, stored: LossHistory) -> Result<(), DiffusionError> {
        match &mut self.method {
            Method::Importance(history) => history.take_losses_of(stored),
            Method::Uniform | Method::LowDiscrepancy | Method::LogitNormal { .. } => {
                Err(DiffusionError::LossHistoryBins { found: stored.bins(), expected: 0 })
            }
        }
    }
}
