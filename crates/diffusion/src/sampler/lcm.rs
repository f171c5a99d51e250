use serde::{Deserialize, Serialize};

use super::{SAMPLER, Sampler, Stages, Update, check_at_least_zero};
use crate::checks::require;
use crate::{DiffusionError, NoisePoint};

/// Multistep consistency sampling (Song et al., 2023, algorithm 1; Luo et al., 2023, "LCM"): each step
/// goes to the estimate of the data and noises it anew, `z' = a' f + s' n`, for networks that were
/// distilled to need few steps. The last step ends at `f`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lcm {
    /// How `f` follows from the estimate of `x0`. Default: `f = x0`.
    pub boundary: Option<Boundary>,
}

/// The consistency function `f = c_skip z + c_out x0` of a model that was trained so, where
/// `c_skip = sigma_data^2 / (T^2 + sigma_data^2)`, `c_out = T / sqrt(T^2 + sigma_data^2)` and
/// `T = time_scale t`: it is the identity at time 0 (Luo et al., 2023, appendix).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Boundary {
    /// Standard deviation of the data, above 0. Default: 0.5.
    pub sigma_data: f64,
    /// Factor of the time in [0, 1]. Default: 9990, which is 10 times the step numbers 0..=999.
    pub time_scale: f64,
}

impl Default for Boundary {
    fn default() -> Self {
        Self { sigma_data: 0.5, time_scale: 9990.0 }
    }
}

impl Boundary {
    /// `[c_skip, c_out]`.
    fn factors(&self, time: f64) -> [f64; 2] {
        let time = self.time_scale * time;
        let total = time.hypot(self.sigma_data);
        [(self.sigma_data / total).powi(2), time / total]
    }
}

impl Sampler for Lcm {
    fn stages(&self, points: &[NoisePoint]) -> Result<Stages, DiffusionError> {
        if let Some(boundary) = &self.boundary {
            let data = boundary.sigma_data;
            let holds = data.is_finite() && data > 0.0;
            require(holds, SAMPLER, "boundary.sigma_data", data, "finite and above 0")?;
            check_at_least_zero("boundary.time_scale", boundary.time_scale)?;
        }
        Stages::one_call_a_step(points, |_, from, to| {
            let [skip, out] = self.boundary.map_or([0.0, 1.0], |b| b.factors(from.time));
            let signal = to.level.signal();
            Ok(Update {
                z: signal * skip,
                x0: vec![signal * out],
                noise: to.level.noise(),
                ..Update::default()
            })
        })
    }
}
