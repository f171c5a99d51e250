//! One optimiser step on a whole module: gradients, clipping, AdamW, EMA.
//!
//! The f32 master copy of all parameters is one flat vector. A step is then a handful of operations
//! on vectors instead of a dozen for each of a few hundred parameters, which on a GPU is the
//! difference between a step bound by launches and one bound by arithmetic.

mod adamw;
mod ema;
mod flat;
mod learning_rate;

pub use adamw::{AdamWConfig, AdamWOptimizer, AdamWSnapshot};
pub use ema::{Ema, EmaConfig};
pub use flat::{FlatLayout, ParameterEntry};
pub use learning_rate::{Decay, LearningRateConfig};

use crate::TrainingError;

/// An error that names the setting unless `value` is in its range.
fn check_range(
    in_range: bool,
    setting: String,
    value: f64,
    range: &str,
) -> Result<(), TrainingError> {
    if in_range {
        Ok(())
    } else {
        Err(TrainingError::setting(setting, format!("is {value}, must {range}")))
    }
}
