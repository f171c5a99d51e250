use std::ops::RangeInclusive;

use crate::DiffusionError;

/// Noise levels that keep `z = x0 + sigma eps` meaningful in f32.
const SIGMAS: RangeInclusive<f64> = 1e-6..=1e6;

pub(super) fn check_sigmas(
    what: &'static str,
    sigma_min: f64,
    sigma_max: f64,
) -> Result<(), DiffusionError> {
    for (setting, value) in [("sigma_min", sigma_min), ("sigma_max", sigma_max)] {
        if !SIGMAS.contains(&value) {
            let requirement = "it must lie between 1e-6 and 1e6";
            return Err(DiffusionError::Setting { what, setting, value, requirement });
        }
    }
    if sigma_min < sigma_max {
        return Ok(());
    }
    Err(DiffusionError::Setting {
        what,
        setting: "sigma_min",
        value: sigma_min,
        requirement: "it must be below sigma_max",
    })
}
