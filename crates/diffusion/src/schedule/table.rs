use serde::{Deserialize, Serialize};

use super::betas::Betas;
use super::curve::Curve;
use super::piecewise::Piecewise;
use crate::DiffusionError;

/// The most entries that a table may have.
const LARGEST_LEN: usize = 1_000_000;

/// A discrete schedule of `len` noise levels, `alpha_bar` being the running product of `1 - beta`
/// (DDPM, Ho et al., 2020).
///
/// Entry `index` lies at the time `index / (len - 1)`. Time 0 is thus the first entry, which has a
/// little noise. Between the entries the log-SNR is linear in time, so that a table serves as a
/// continuous schedule as well. There is no clamp.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Table {
    /// The betas. Default: linear from 0.0001 to 0.02.
    pub betas: Betas,
    /// The number of entries, from 2 to a million. Default: 1000.
    pub len: usize,
    /// Whether the signals are shifted and rescaled so that the last one is exactly 0 and the first
    /// stays as it is (Lin et al., 2024, "Common diffusion noise schedules and sample steps are
    /// flawed"). The log-SNR then ends at minus infinity, and between the last two entries the
    /// signal is linear in time instead of the log-SNR. Default: false.
    pub zero_terminal_snr: bool,
}

impl Default for Table {
    fn default() -> Self {
        Self { betas: Betas::default(), len: 1000, zero_terminal_snr: false }
    }
}

impl Table {
    pub(super) fn entries(&self) -> Result<TableEntries, DiffusionError> {
        if !(2..=LARGEST_LEN).contains(&self.len) {
            return Err(DiffusionError::Setting {
                what: "the table schedule",
                setting: "len",
                value: self.len as f64,
                requirement: "it must lie between 2 and 1000000",
            });
        }
        let mut log_alphas = running_product(&self.betas.values(self.len)?);
        if self.zero_terminal_snr {
            end_without_signal(&mut log_alphas);
        }
        let log_snrs = log_alphas.into_iter().map(|log| log - (-log.exp_m1()).ln()).collect();
        Ok(TableEntries(Piecewise::new("table", log_snrs)?))
    }
}

/// `ln(alpha_bar)` of every entry.
fn running_product(betas: &[f64]) -> Vec<f64> {
    let factors = betas.iter().map(|beta| (-beta).ln_1p());
    factors
        .scan(0.0, |sum, factor| {
            *sum += factor;
            Some(*sum)
        })
        .collect()
}

/// Lin et al.'s rescaling of `signal = sqrt(alpha_bar)`.
fn end_without_signal(log_alphas: &mut [f64]) {
    let (Some(&first), Some(&last)) = (log_alphas.first(), log_alphas.last()) else { return };
    let (first, last) = ((0.5 * first).exp(), (0.5 * last).exp());
    let factor = first / (first - last);
    // The first signal does not change, and keeps its digits.
    for log_alpha in &mut log_alphas[1..] {
        let signal = ((0.5 * *log_alpha).exp() - last) * factor;
        *log_alpha = 2.0 * signal.ln();
    }
}

#[derive(Debug)]
pub(super) struct TableEntries(Piecewise);

impl Curve for TableEntries {
    fn log_snr(&self, t: f64) -> f64 {
        self.0.at(t)
    }

    fn time_of(&self, log_snr: f64) -> f64 {
        self.0.time_of(log_snr)
    }

    fn table_len(&self) -> Option<usize> {
        Some(self.0.len())
    }
}
