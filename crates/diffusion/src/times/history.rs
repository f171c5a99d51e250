use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::TimeDraw;
use crate::DiffusionError;
use crate::checks::require;

/// Settings of importance sampling by a running average of the loss.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Importance {
    /// Number of intervals of equal length that [0, 1] is cut into, at least 1. Default: 100.
    pub bins: usize,
    /// Factor on the past at each new loss of an interval, at least 0 and below 1; the average spans
    /// about `1 / (1 - decay)` losses. Default: 0.9, about the ten losses of Nichol and Dhariwal.
    pub decay: f64,
    /// Times are uniform until every interval has had this many losses, at least 1. Default: 10.
    pub warm_up: u64,
    /// Share of the draws that stays uniform, above 0 and at most 1: it bounds the weights by its
    /// inverse and keeps the average of intervals with a small loss from ageing. Default: 0.001.
    pub uniform_share: f64,
}

impl Default for Importance {
    fn default() -> Self {
        Self { bins: 100, decay: 0.9, warm_up: 10, uniform_share: 1e-3 }
    }
}

impl Importance {
    /// Checks the settings and makes an empty history.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] for a value out of range.
    pub fn init(self) -> Result<LossHistory, DiffusionError> {
        self.check()?;
        Ok(LossHistory { settings: self, averages: vec![Average::default(); self.bins] })
    }

    fn check(self) -> Result<(), DiffusionError> {
        let Self { bins, decay, warm_up, uniform_share } = self;
        let what = "importance time sampling";
        require(bins >= 1, what, "bins", bins as f64, "it must be at least 1")?;
        let holds = (0.0..1.0).contains(&decay);
        require(holds, what, "decay", decay, "it must be at least 0 and below 1")?;
        require(warm_up >= 1, what, "warm_up", warm_up as f64, "it must be at least 1")?;
        let holds = uniform_share > 0.0 && uniform_share <= 1.0;
        require(holds, what, "uniform_share", uniform_share, "it must be above 0 and at most 1")
    }
}

/// A running average of the squared loss over time, and the density of times that follows from it.
///
/// The density is proportional to the square root of the average of each interval, mixed with a
/// uniform one: this minimises the variance of the estimated loss (Nichol and Dhariwal, 2021). Until
/// every interval has had enough losses it is uniform.
///
/// Serialisable: a run can continue from a stored history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct LossHistory {
    settings: Importance,
    averages: Vec<Average>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Average {
    mean_square: f64,
    count: u64,
}

impl LossHistory {
    /// Number of intervals.
    pub fn bins(&self) -> usize {
        self.averages.len()
    }

    /// Whether every interval has had enough losses for the density not to be uniform.
    pub fn is_warm(&self) -> bool {
        self.averages.iter().all(|average| average.count >= self.settings.warm_up)
    }

    /// The density of the next times at `time`, 1 on average over [0, 1].
    pub fn density(&self, time: f64) -> f64 {
        self.densities()[self.bin(time)]
    }

    /// Adds the losses of samples trained at these times: the loss as it enters the objective, with
    /// the weight of its noise level but without the weight of its [`TimeDraw`].
    ///
    /// # Errors
    /// [`DiffusionError::LossCount`] if there are not as many losses as times,
    /// [`DiffusionError::UnusableLoss`] for a loss that is not finite or a time outside [0, 1]. The
    /// history is then as it was.
    pub fn update(&mut self, times: &[f64], losses: &[f32]) -> Result<(), DiffusionError> {
        if times.len() != losses.len() {
            return Err(DiffusionError::LossCount { times: times.len(), losses: losses.len() });
        }
        for (index, (&time, &loss)) in times.iter().zip(losses).enumerate() {
            if !(loss.is_finite() && (0.0..=1.0).contains(&time)) {
                return Err(DiffusionError::UnusableLoss { index, time, loss });
            }
        }
        for (&time, &loss) in times.iter().zip(losses) {
            let bin = self.bin(time);
            self.averages[bin].add(f64::from(loss).powi(2), self.settings.decay);
        }
        Ok(())
    }

    /// Times for a batch of this many samples, independent, each with the inverse of its density.
    pub fn draw<R: Rng + ?Sized>(&self, batch: usize, rng: &mut R) -> TimeDraw {
        let densities = self.densities();
        let bins = densities.len() as f64;
        let ends: Vec<f64> = densities
            .iter()
            .scan(0.0, |end, density| {
                *end += density / bins;
                Some(*end)
            })
            .collect();

        let (times, weights) = (0..batch)
            .map(|_| {
                let u: f64 = rng.random();
                let bin = ends.partition_point(|&end| end <= u).min(densities.len() - 1);
                let within = 1.0 - (ends[bin] - u) * bins / densities[bin];
                let time = (bin as f64 + within.clamp(0.0, 1.0)) / bins;
                (time, densities[bin].recip())
            })
            .unzip();
        TimeDraw { times, weights }
    }

    pub(super) fn take_losses_of(&mut self, stored: Self) -> Result<(), DiffusionError> {
        if stored.bins() != self.bins() {
            return Err(DiffusionError::LossHistoryBins {
                found: stored.bins(),
                expected: self.bins(),
            });
        }
        self.averages = stored.averages;
        Ok(())
    }

    fn bin(&self, time: f64) -> usize {
        // The cast takes times below 0 to 0.
        ((time * self.bins() as f64) as usize).min(self.bins() - 1)
    }

    /// The density in each interval.
    fn densities(&self) -> Vec<f64> {
        let sizes: Vec<f64> = self.averages.iter().map(|a| a.mean_square.sqrt()).collect();
        let mean = sizes.iter().sum::<f64>() / sizes.len() as f64;
        if !self.is_warm() || mean == 0.0 {
            return vec![1.0; sizes.len()];
        }
        let share = self.settings.uniform_share;
        sizes.iter().map(|size| share + (1.0 - share) * size / mean).collect()
    }
}

impl Average {
    /// A plain mean at first, then one that forgets.
    fn add(&mut self, square: f64, decay: f64) {
        self.count += 1;
        let rate = (1.0 - decay).max(1.0 / self.count as f64);
        self.mean_square += rate * (square - self.mean_square);
    }
}

/// A history as it is stored, not checked yet.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    settings: Importance,
    averages: Vec<Average>,
}

impl TryFrom<Stored> for LossHistory {
    type Error = DiffusionError;

    fn try_from(Stored { settings, averages }: Stored) -> Result<Self, DiffusionError> {
        settings.check()?;
        if averages.len() != settings.bins {
            let (found, expected) = (averages.len(), settings.bins);
            return Err(DiffusionError::LossHistoryBins { found, expected });
        }
        let damaged = |a: &Average| !(a.mean_square.is_finite() && a.mean_square >= 0.0);
        match averages.iter().position(damaged) {
            None => Ok(Self { settings, averages }),
            Some(bin) => {
                let Average { mean_square, count } = averages[bin];
                Err(DiffusionError::DamagedLossHistory { bin, mean_square, count })
            }
        }
    }
}
