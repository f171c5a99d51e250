use serde::{Deserialize, Serialize};

use super::knots::{KNOTS, Knots};
use crate::{DiffusionError, Family};

/// Settings of an [`AdaptiveSchedule`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdaptiveScheduleConfig {
    /// The log-SNR at `t = 0`, above `log_snr_min` and at most 80. Default: 15.
    pub log_snr_max: f64,
    /// The log-SNR at `t = 1`, at least -80. Default: -15.
    pub log_snr_min: f64,
    /// The number of equal intervals of log-SNR, at whose ends the loss is averaged; from 2 to
    /// 100,000. Default: 100.
    pub intervals: usize,
    /// What an average keeps of its past at each new loss, above 0 and at most 1; 1 makes it the
    /// mean of all. Default: 0.99.
    pub decay: f64,
    /// The share of the time that is spread evenly over the log-SNRs whatever the losses, from
    /// 1e-6 to 1. It keeps the schedule strictly falling where the loss is flat. Default: 0.01.
    pub uniform: f64,
    /// The family of the schedule. Default: variance preserving.
    pub family: Family,
}

impl Default for AdaptiveScheduleConfig {
    fn default() -> Self {
        Self {
            log_snr_max: 15.0,
            log_snr_min: -15.0,
            intervals: 100,
            decay: 0.99,
            uniform: 0.01,
            family: Family::default(),
        }
    }
}

impl AdaptiveScheduleConfig {
    /// Checks the settings and makes a state without observations.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] for values out of range.
    pub fn init(&self) -> Result<AdaptiveSchedule, DiffusionError> {
        self.check()?;
        let averages = vec![Average::default(); self.intervals + 1];
        Ok(AdaptiveSchedule { config: self.clone(), averages })
    }

    fn check(&self) -> Result<(), DiffusionError> {
        let wrong = |setting, value, requirement| {
            Err(DiffusionError::Setting {
                what: "the adaptive schedule",
                setting,
                value,
                requirement,
            })
        };
        if !KNOTS.contains(&self.log_snr_max) {
            return wrong("log_snr_max", self.log_snr_max, "it must lie between -80 and 80");
        }
        if !KNOTS.contains(&self.log_snr_min) || self.log_snr_min >= self.log_snr_max {
            let requirement = "it must be at least -80 and below log_snr_max";
            return wrong("log_snr_min", self.log_snr_min, requirement);
        }
        if !(2..=100_000).contains(&self.intervals) {
            let requirement = "it must lie between 2 and 100000";
            return wrong("intervals", self.intervals as f64, requirement);
        }
        if !(self.decay > 0.0 && self.decay <= 1.0) {
            return wrong("decay", self.decay, "it must be above 0 and at most 1");
        }
        if !(1e-6..=1.0).contains(&self.uniform) {
            return wrong("uniform", self.uniform, "it must lie between 1e-6 and 1");
        }
        Ok(())
    }
}

/// A schedule that is learnt from the losses of training: [`fit`](Self::fit) spreads the times so
/// that the expected loss grows linearly with time (SeqDiffuSeq, Yuan et al., 2022; the same as the
/// time warping of CDCD, Dieleman et al., 2022).
///
/// The losses must be comparable across noise levels and grow with the noise, such as the
/// unweighted error of x0 or a cross-entropy; an error of eps falls instead.
///
/// All its state is here and can be saved; using a fitted schedule is the caller's doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Saved")]
pub struct AdaptiveSchedule {
    config: AdaptiveScheduleConfig,
    /// From the highest log-SNR (data) to the lowest.
    averages: Vec<Average>,
}

impl AdaptiveSchedule {
    /// Takes in losses at the log-SNRs that they were observed at, one for each sample. A log-SNR
    /// beyond the range counts at its end.
    ///
    /// # Errors
    /// [`DiffusionError::Observation`] if a log-SNR is not a number or a loss not finite;
    /// [`DiffusionError::ObservationCount`] if there are not as many losses as log-SNRs. Nothing
    /// is taken in then.
    pub fn observe(&mut self, log_snrs: &[f64], losses: &[f64]) -> Result<(), DiffusionError> {
        if log_snrs.len() != losses.len() {
            let (log_snrs, losses) = (log_snrs.len(), losses.len());
            return Err(DiffusionError::ObservationCount { log_snrs, losses });
        }
        let mut pairs = log_snrs.iter().copied().zip(losses.iter().copied());
        if let Some((log_snr, loss)) = pairs.find(|(l, loss)| l.is_nan() || !loss.is_finite()) {
            return Err(DiffusionError::Observation { log_snr, loss });
        }
        for (&log_snr, &loss) in log_snrs.iter().zip(losses) {
            let nearest = self.nearest(log_snr);
            self.averages[nearest].add(loss, self.config.decay);
        }
        Ok(())
    }

    /// The schedule on which the losses observed so far grow linearly in time, as nearly as the
    /// settings allow: monotone regression of the averages, linear between them, inverted.
    ///
    /// # Errors
    /// [`DiffusionError::NoLossGrowth`] if the averages do not grow with the noise, for instance
    /// because fewer than two places have observations.
    pub fn fit(&self) -> Result<Knots, DiffusionError> {
        let cumulative = self.cumulative()?;
        let intervals = self.config.intervals;
        let knot = |index| {
            let share = index as f64 / intervals as f64;
            let above = cumulative.partition_point(|&entry| entry <= share);
            let at = above.clamp(1, intervals) - 1;
            let part = (share - cumulative[at]) / (cumulative[at + 1] - cumulative[at]);
            self.log_snr((at as f64 + part.min(1.0)) / intervals as f64)
        };
        let log_snrs = (0..=intervals).map(knot).collect();
        Ok(Knots { log_snrs, family: self.config.family })
    }

    /// The time at every average of the fitted schedule: strictly growing from 0 to 1.
    fn cumulative(&self) -> Result<Vec<f64>, DiffusionError> {
        let losses = filled(&growing(&self.averages), self.averages.len());
        let (Some(&first), Some(&last)) = (losses.first(), losses.last()) else {
            return Err(self.no_growth());
        };
        let growth = last - first;
        if !growth.is_normal() || growth < 0.0 {
            return Err(self.no_growth());
        }
        let (uniform, intervals) = (self.config.uniform, self.config.intervals as f64);
        let time = |(index, &loss): (usize, &f64)| {
            (1.0 - uniform) * ((loss - first) / growth) + uniform * (index as f64 / intervals)
        };
        Ok(losses.iter().enumerate().map(time).collect())
    }

    fn no_growth(&self) -> DiffusionError {
        let observed = self.averages.iter().filter(|average| average.weight > 0.0).count();
        DiffusionError::NoLossGrowth { observed, places: self.averages.len() }
    }

    /// The log-SNR at a part of the range, 0 being data.
    fn log_snr(&self, part: f64) -> f64 {
        let AdaptiveScheduleConfig { log_snr_max, log_snr_min, .. } = self.config;
        log_snr_max + part * (log_snr_min - log_snr_max)
    }

    fn nearest(&self, log_snr: f64) -> usize {
        let AdaptiveScheduleConfig { log_snr_max, log_snr_min, intervals, .. } = self.config;
        let part = (log_snr_max - log_snr) / (log_snr_max - log_snr_min);
        (part.clamp(0.0, 1.0) * intervals as f64).round() as usize
    }
}

/// A running average: `sum / weight`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Average {
    sum: f64,
    weight: f64,
}

impl Average {
    fn add(&mut self, value: f64, decay: f64) {
        self.sum = decay * self.sum + value;
        self.weight = decay * self.weight + 1.0;
    }

    fn join(self, other: Self) -> Self {
        Self { sum: self.sum + other.sum, weight: self.weight + other.weight }
    }

    fn value(self) -> f64 {
        self.sum / self.weight
    }
}

/// Monotone regression by pooling adjacent violators: the index and the growing value of every
/// average with observations.
fn growing(averages: &[Average]) -> Vec<(usize, f64)> {
    let observed = averages.iter().enumerate().filter(|(_, average)| average.weight > 0.0);
    let mut pools: Vec<(Vec<usize>, Average)> = Vec::new();
    for (index, &average) in observed {
        let mut pool = (vec![index], average);
        while let Some((mut indices, before)) =
            pools.pop_if(|(_, before)| before.value() >= pool.1.value())
        {
            indices.append(&mut pool.0);
            pool = (indices, before.join(pool.1));
        }
        pools.push(pool);
    }
    let spread = |(indices, pool): (Vec<usize>, Average)| {
        indices.into_iter().map(move |index| (index, pool.value()))
    };
    pools.into_iter().flat_map(spread).collect()
}

/// A value at each of `places`: linear between the given ones, constant beyond them.
fn filled(values: &[(usize, f64)], places: usize) -> Vec<f64> {
    let value = |place: usize| {
        let after = values.partition_point(|&(index, _)| index <= place);
        match (after.checked_sub(1).and_then(|i| values.get(i)), values.get(after)) {
            (Some(&(from, low)), Some(&(to, high))) => {
                low + (high - low) * ((place - from) as f64 / (to - from) as f64)
            }
            (Some(&(_, value)), None) | (None, Some(&(_, value))) => value,
            (None, None) => f64::NAN,
        }
    };
    (0..places).map(value).collect()
}

/// An [`AdaptiveSchedule`] as read, before it is checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    config: AdaptiveScheduleConfig,
    averages: Vec<Average>,
}

impl TryFrom<Saved> for AdaptiveSchedule {
    type Error = DiffusionError;

    fn try_from(Saved { config, averages }: Saved) -> Result<Self, DiffusionError> {
        let empty = config.init()?;
        let sound = |average: &Average| average.sum.is_finite() && average.weight >= 0.0;
        if averages.len() == empty.averages.len() && averages.iter().all(sound) {
            return Ok(Self { config, averages });
        }
        Err(DiffusionError::SavedAverages { saved: averages.len(), needed: empty.averages.len() })
    }
}
