use serde::{Deserialize, Serialize};

/// `g(t) = 1 - t` (Chen, 2023). It has no parameters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimpleLinear {}

impl SimpleLinear {
    pub(super) fn at(&self, t: f64) -> f64 {
        1.0 - t
    }
}
