//! Spacings: the noise levels at which a sampler stops on its way from noise to data.
//!
//! [`Spacing::points`] turns a schedule and a number of steps into the points of a run. All
//! computing is on the host, in f64.

mod beta;
mod exponential;
mod given;
mod incomplete_beta;
mod karras;
mod sigma;
mod table;
mod uniform_log_snr;

use std::cmp::Ordering;

use serde::{Deserialize, Deserializer, Serialize};

pub use beta::Beta;
pub use exponential::Exponential;
pub use given::{LogSnrs, Times};
pub use karras::Karras;
pub use table::{Leading, Linspace, Trailing};
pub use uniform_log_snr::UniformLogSnr;

use crate::{DiffusionError, NoiseLevel, NoiseSchedule};

/// A point of a sampling run: a time and the noise level there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NoisePoint {
    /// The schedule's time, from 0 (data) to 1 (noise).
    pub time: f64,
    /// The noise level at that time.
    pub level: NoiseLevel,
}

impl NoisePoint {
    /// Clean data: [`NoiseLevel::DATA`] at time 0.
    pub const DATA: Self = Self { time: 0.0, level: NoiseLevel::DATA };

    /// The point of a schedule at a time in [0, 1].
    pub fn at_time(schedule: &NoiseSchedule, time: f64) -> Self {
        Self { time, level: schedule.level(time) }
    }

    /// The point of a log-SNR. Its level has exactly this log-SNR, even beyond the schedule's ends,
    /// where the time is that of the nearer end.
    pub fn at_log_snr(schedule: &NoiseSchedule, log_snr: f64) -> Self {
        let level = NoiseLevel::new(schedule.family(), log_snr);
        Self { time: schedule.time_of(log_snr), level }
    }
}

/// Where a run ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum End {
    /// At clean data, [`NoisePoint::DATA`]: the last step returns the network's estimate. The
    /// default.
    #[default]
    Data,
    /// At the least noise of the schedule, or of the spacing's own range.
    Schedule,
}

/// How the points of a run are spread, written in settings as `{ name = "karras" }` with the
/// spacing's own parameters beside `name`.
///
/// `sigma` below is the ratio of noise to signal (EDM's noise level), save for rectified flow,
/// where it is the factor of the noise; both are what the `diffusers` library calls so.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Spacing {
    /// The times `1 - i / steps`. The default (LD4LG).
    #[default]
    #[serde(deserialize_with = "no_settings")]
    Uniform,
    /// Entries of a table, from its last to its first.
    Linspace(Linspace),
    /// Entries of a table, counted from its first.
    Leading(Leading),
    /// Entries of a table, counted from its last.
    Trailing(Trailing),
    /// Uniform in a root of `sigma`.
    Karras(Karras),
    /// Uniform in `ln(sigma)`.
    Exponential(Exponential),
    /// Quantiles of a beta distribution as `sigma`.
    Beta(Beta),
    /// Uniform in the log-SNR.
    UniformLogSnr(UniformLogSnr),
    /// The caller's times.
    Times(Times),
    /// The caller's log-SNRs.
    LogSnrs(LogSnrs),
}

impl Spacing {
    /// The `steps + 1` points of a run of `steps` steps, noise first, clean data last.
    ///
    /// # Errors
    /// [`DiffusionError::NoSteps`] if `steps` is 0. Whatever the spacing,
    /// [`DiffusionError::RepeatedNoise`] if the noise does not fall in every step, for instance
    /// where so many steps are asked for that some lie where the schedule is clamped, and
    /// [`DiffusionError::ExtremeNoise`] for factors that f32 cannot hold. Others as told at the
    /// spacings.
    pub fn points(
        &self,
        schedule: &NoiseSchedule,
        steps: usize,
    ) -> Result<Vec<NoisePoint>, DiffusionError> {
        self.points_to(End::Data, schedule, steps)
    }

    /// As [`points`](Self::points), with a choice of the last one.
    ///
    /// For [`End::Schedule`], the spacings in time, `sigma` and log-SNR spread `steps + 1` points
    /// over the whole range; those over tables and the caller's are followed by the schedule's
    /// level at time 0.
    ///
    /// # Errors
    /// As [`points`](Self::points).
    pub fn points_to(
        &self,
        end: End,
        schedule: &NoiseSchedule,
        steps: usize,
    ) -> Result<Vec<NoisePoint>, DiffusionError> {
        if steps == 0 {
            return Err(DiffusionError::NoSteps);
        }
        let (count, last) = match end {
            End::Data => (steps, NoisePoint::DATA),
            End::Schedule => (steps + 1, NoisePoint::at_time(schedule, 0.0)),
        };
        let mut points = self.spread(schedule, steps, count)?;
        if points.len() == steps {
            points.push(last);
        }
        check(&points)?;
        Ok(points)
    }

    /// `count` points over the whole range, or `steps` if the spacing does not reach its end.
    fn spread(
        &self,
        schedule: &NoiseSchedule,
        steps: usize,
        count: usize,
    ) -> Result<Vec<NoisePoint>, DiffusionError> {
        match self {
            Self::Uniform => Ok(uniform(schedule, steps, count)),
            Self::Linspace(spacing) => spacing.points(schedule, steps),
            Self::Leading(spacing) => spacing.points(schedule, steps),
            Self::Trailing(spacing) => spacing.points(schedule, steps),
            Self::Karras(spacing) => spacing.points(schedule, count),
            Self::Exponential(spacing) => spacing.points(schedule, count),
            Self::Beta(spacing) => spacing.points(schedule, count),
            Self::UniformLogSnr(spacing) => spacing.points(schedule, count),
            Self::Times(given) => given.points(schedule, steps),
            Self::LogSnrs(given) => given.points(schedule, steps),
        }
    }
}

fn uniform(schedule: &NoiseSchedule, steps: usize, count: usize) -> Vec<NoisePoint> {
    let time = |step| 1.0 - step as f64 / steps as f64;
    (0..count).map(|step| NoisePoint::at_time(schedule, time(step))).collect()
}

/// How far point number `index` of `count` is from the first (0) to the last (1).
fn part(index: usize, count: usize) -> f64 {
    if index == 0 { 0.0 } else { index as f64 / (count - 1) as f64 }
}

/// The noise falls in every step, and f32 latents can hold it.
fn check(points: &[NoisePoint]) -> Result<(), DiffusionError> {
    for (step, pair) in points.windows(2).enumerate() {
        let (from, to) = (pair[0].level.log_snr(), pair[1].level.log_snr());
        if from.partial_cmp(&to) != Some(Ordering::Less) {
            return Err(DiffusionError::RepeatedNoise { step: step + 1, from, to });
        }
    }
    let holds = |factor: f64| (factor as f32).is_finite();
    let extreme =
        points.iter().find(|point| !holds(point.level.noise()) || !holds(point.level.signal()));
    match extreme {
        None => Ok(()),
        Some(point) => Err(DiffusionError::ExtremeNoise { log_snr: point.level.log_snr() }),
    }
}

/// Refuses settings beside the name.
fn no_settings<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct NoSettings {}

    NoSettings::deserialize(deserializer).map(|NoSettings {}| ())
}
