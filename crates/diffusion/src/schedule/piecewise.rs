use crate::DiffusionError;
use crate::level::log_sigmoid;

/// A strictly falling log-SNR through given values at uniform times, linear between them.
///
/// The last value may be minus infinity (variance-preserving tables with zero terminal SNR): the
/// signal, not the log-SNR, is then linear between the last two.
#[derive(Debug)]
pub(super) struct Piecewise {
    log_snrs: Vec<f64>,
}

impl Piecewise {
    pub(super) fn new(schedule: &'static str, log_snrs: Vec<f64>) -> Result<Self, DiffusionError> {
        if log_snrs.len() < 2 {
            return Err(DiffusionError::Setting {
                what: schedule,
                setting: "number of entries",
                value: log_snrs.len() as f64,
                requirement: "it must be at least 2",
            });
        }
        for (index, pair) in log_snrs.windows(2).enumerate() {
            if !(pair[0].is_finite() && pair[0] > pair[1]) {
                let (log_snr, next) = (pair[0], pair[1]);
                return Err(DiffusionError::NotFalling { schedule, index, log_snr, next });
            }
        }
        Ok(Self { log_snrs })
    }

    pub(super) fn len(&self) -> usize {
        self.log_snrs.len()
    }

    pub(super) fn at(&self, t: f64) -> f64 {
        let place = t * (self.len() - 1) as f64;
        let nearest = place.round();
        // `index / (len - 1)` times `len - 1` may miss the index by a rounding error.
        if (place - nearest).abs() <= 4.0 * f64::EPSILON * place {
            return self.log_snrs[nearest as usize];
        }
        let index = place as usize;
        let (here, next) = (self.log_snrs[index], self.log_snrs[index + 1]);
        let part = place - index as f64;
        if next == f64::NEG_INFINITY {
            return vanishing_at(here, part);
        }
        here + part * (next - here)
    }

    /// The time of a log-SNR between those at the ends.
    pub(super) fn time_of(&self, log_snr: f64) -> f64 {
        let above = self.log_snrs.partition_point(|&entry| entry > log_snr);
        let index = above.clamp(1, self.len() - 1) - 1;
        let (here, next) = (self.log_snrs[index], self.log_snrs[index + 1]);
        let part = if next == f64::NEG_INFINITY {
            vanishing_part(here, log_snr)
        } else {
            (log_snr - here) / (next - here)
        };
        (index as f64 + part) / (self.len() - 1) as f64
    }
}

/// The log-SNR where the signal has fallen by `part` of what it is at the log-SNR `from`.
fn vanishing_at(from: f64, part: f64) -> f64 {
    let log_alpha = 2.0 * (-part).ln_1p() + log_sigmoid(from);
    log_alpha - (-log_alpha.exp_m1()).ln()
}

/// The inverse of [`vanishing_at`].
fn vanishing_part(from: f64, log_snr: f64) -> f64 {
    -(0.5 * (log_sigmoid(log_snr) - log_sigmoid(from))).exp_m1()
}
