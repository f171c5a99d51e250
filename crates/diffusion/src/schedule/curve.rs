use std::fmt::Debug;

use crate::Family;

/// The log-SNR of a variance-preserving base curve is clamped to +- this value (LD4LG).
const LARGEST_LOG_SNR: f64 = 15.0;

/// Halvings of [0, 1] until neighbouring times are told apart.
const HALVINGS: usize = 64;

/// A log-SNR that falls with time, before the schedule's shift. Made and checked once from its
/// settings.
pub(super) trait Curve: Debug + Send + Sync {
    /// `ln(signal^2 / noise^2)` at a time in [0, 1].
    fn log_snr(&self, t: f64) -> f64;

    /// The time of a log-SNR strictly between those at the ends.
    fn time_of(&self, log_snr: f64) -> f64 {
        bisect(|t| self.log_snr(t) > log_snr)
    }

    fn family(&self) -> Family {
        Family::VariancePreserving
    }

    /// The number of entries, if the curve is a table.
    fn table_len(&self) -> Option<usize> {
        None
    }
}

pub(super) fn clamp(log_snr: f64) -> f64 {
    log_snr.clamp(-LARGEST_LOG_SNR, LARGEST_LOG_SNR)
}

/// The clamped log-SNR of a base curve `g`, which is `alpha` before clamp and shift.
pub(super) fn log_snr_of(g: f64) -> f64 {
    let g = g.clamp(0.0, 1.0);
    clamp((g / (1.0 - g)).ln())
}

/// The place in [0, 1] up to which `before` holds.
pub(crate) fn bisect(before: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        if before(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}
