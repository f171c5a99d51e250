use crate::DenoiserError;
use crate::transformer::TransformerShape;

/// Far beyond any sensible size, but small enough that products of sizes do not overflow.
const LARGEST_SIZE: usize = 1 << 16;

/// Checks that each of these sizes, given with its name, is above 0 and not absurdly large.
pub(crate) fn check_sizes(sizes: &[(&'static str, usize)]) -> Result<(), DenoiserError> {
    for &(setting, value) in sizes {
        if !(1..=LARGEST_SIZE).contains(&value) {
            return refuse(setting, value, format!("it must lie in 1..={LARGEST_SIZE}"));
        }
    }
    Ok(())
}

/// Checks the settings that all denoisers share, under the names they have there.
pub(crate) fn check_shape(
    shape: &TransformerShape,
    time_dim_mult: usize,
) -> Result<(), DenoiserError> {
    check_sizes(&[
        ("dim", shape.dim),
        ("depth", shape.depth),
        ("head_dim", shape.head_dim),
        ("ff_mult", shape.ff_mult),
        ("time_dim_mult", time_dim_mult),
    ])?;
    if !shape.dim.is_multiple_of(shape.head_dim) {
        let problem = format!("it must be a multiple of `head_dim` = {}", shape.head_dim);
        return refuse("dim", shape.dim, problem);
    }
    if shape.dim < 4 || !shape.dim.is_multiple_of(2) {
        return refuse("dim", shape.dim, "it must be even and at least 4");
    }
    if !(0.0..1.0).contains(&shape.dropout) {
        return refuse("dropout", shape.dropout, "it must be at least 0 and below 1");
    }
    Ok(())
}

/// The error that this setting can't be used.
pub(crate) fn refuse(
    setting: &'static str,
    value: impl ToString,
    problem: impl Into<String>,
) -> Result<(), DenoiserError> {
    Err(refused(setting, value, problem))
}

/// What [`refuse`] answers.
pub(crate) fn refused(
    setting: &'static str,
    value: impl ToString,
    problem: impl Into<String>,
) -> DenoiserError {
    DenoiserError::Setting { setting, value: value.to_string(), problem: problem.into() }
}
