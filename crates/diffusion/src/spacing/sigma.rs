use super::{NoisePoint, part};
use crate::{DiffusionError, Family, NoiseLevel, NoiseSchedule};

/// The range of `sigma` that a spacing covers, and how `sigma` is counted in a schedule.
pub(super) struct SigmaRange<'a> {
    schedule: &'a NoiseSchedule,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl<'a> SigmaRange<'a> {
    /// The given ends, where there are any, and else those of the schedule.
    pub(super) fn new(
        spacing: &'static str,
        schedule: &'a NoiseSchedule,
        min: Option<f64>,
        max: Option<f64>,
    ) -> Result<Self, DiffusionError> {
        let max = max.unwrap_or_else(|| sigma(schedule.level(1.0), schedule.family()));
        if max == f64::INFINITY {
            return Err(DiffusionError::UnboundedNoise { spacing, setting: "sigma_max" });
        }
        let min = min.unwrap_or_else(|| sigma(schedule.level(0.0), schedule.family()));
        if min == 0.0 {
            return Err(DiffusionError::UnboundedNoise { spacing, setting: "sigma_min" });
        }
        let wrong = |setting, value, requirement| {
            Err(DiffusionError::Setting { what: spacing, setting, value, requirement })
        };
        let flow = schedule.family() == Family::RectifiedFlow;
        if flow && max > 1.0 {
            return wrong("sigma_max", max, "it must be at most 1, as the schedule is a flow");
        }
        if !(min > 0.0 && min < max) {
            return wrong("sigma_min", min, "it must be above 0 and below sigma_max");
        }
        Ok(Self { schedule, min, max })
    }

    /// `count` points, `sigma` being given by how far a point is from the first (0) to the last
    /// (1).
    pub(super) fn points(&self, count: usize, sigma: impl Fn(f64) -> f64) -> Vec<NoisePoint> {
        let point = |index| {
            let sigma = sigma(part(index, count)).clamp(self.min, self.max);
            NoisePoint::at_log_snr(self.schedule, self.log_snr(sigma))
        };
        (0..count).map(point).collect()
    }

    fn log_snr(&self, sigma: f64) -> f64 {
        match self.schedule.family() {
            Family::RectifiedFlow => 2.0 * ((1.0 - sigma) / sigma).ln(),
            Family::VariancePreserving | Family::VarianceExploding => -2.0 * sigma.ln(),
        }
    }
}

/// What `diffusers` calls `sigma`: the noise of a flow, else the ratio of noise to signal.
fn sigma(level: NoiseLevel, family: Family) -> f64 {
    match family {
        Family::RectifiedFlow => level.noise(),
        Family::VariancePreserving | Family::VarianceExploding => level.sigma(),
    }
}
