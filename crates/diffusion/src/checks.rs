use crate::DiffusionError;

/// An error that names the setting unless the requirement holds.
pub(crate) fn require(
    holds: bool,
    what: &'static str,
    setting: &'static str,
    value: f64,
    requirement: &'static str,
) -> Result<(), DiffusionError> {
    match holds {
        true => Ok(()),
        false => Err(DiffusionError::Setting { what, setting, value, requirement }),
    }
}
