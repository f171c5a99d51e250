//! Errors of the samplers by the number of network calls.

use std::f64::consts::PI;
use std::ops::RangeInclusive;

use anyhow::Result;
use burn::tensor::Device;
use latent_text::diffusion::NoiseLevel;

use crate::cases::{Case, is_stochastic};
use crate::mixture::{Point, exact_flow, exact_samples};
use crate::run::Run;

/// Network calls that the errors are measured at, at most.
pub const BUDGETS: [usize; 5] = [5, 10, 20, 40, 80];

/// Budgets from which the slope is fitted.
const SLOPE_FROM: usize = 20;

/// Below this distance, the rounding of f32 is a good part of it.
const ROUNDING: f64 = 1e-5;

/// Directions along which distributions are compared.
const DIRECTIONS: usize = 16;

/// So many exact samples stand for the mixture, for each sample that is compared with it.
const REFERENCE_FACTOR: usize = 10;

/// Sets of exact samples whose mean distance is compared with.
const EXACT_SETS: RangeInclusive<u64> = 2..=9;

/// What an error is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Root mean square distance from the end of the exact flow.
    Flow,
    /// Sliced Wasserstein distance from the mixture.
    Distribution,
}

/// The errors of one case.
pub struct Curve {
    pub name: &'static str,
    pub process: &'static str,
    pub kind: Kind,
    /// Network calls and error, one for each of the [`BUDGETS`].
    pub errors: Vec<(usize, f64)>,
    /// Slope of the logarithms, where errors are large enough to tell.
    pub slope: Option<f64>,
}

pub struct Measured {
    pub curves: Vec<Curve>,
    /// The sliced Wasserstein distance of as many exact samples.
    pub floor: f64,
}

/// Measures every case with the same initial noise.
pub fn measure(cases: &[Case], seed: u64, points: u64, device: &Device) -> Result<Measured> {
    let mixture = Slices::new(&exact_samples(seed ^ 1, points as usize * REFERENCE_FACTOR));
    let exact = |set| mixture.distance(&exact_samples(seed ^ set, points as usize));
    let floor = EXACT_SETS.map(exact).sum::<f64>() / EXACT_SETS.count() as f64;
    let mut flows = ExactFlows::default();
    let mut curves = Vec::new();
    for case in cases {
        let kind = match is_stochastic(&case.plan(BUDGETS[0])?) {
            true => Kind::Distribution,
            false => Kind::Flow,
        };
        let mut errors = Vec::new();
        for calls in BUDGETS {
            let plan = case.plan(calls)?;
            let calls = plan.calls();
            let run = Run::new(plan, case.process.prediction(), seed, points, device);
            let error = match kind {
                Kind::Distribution => mixture.distance(&run.sample(|_| {})?),
                Kind::Flow => flow_error(case, run, &mut flows)?,
            };
            errors.push((calls, error));
        }
        let least = match kind {
            Kind::Flow => ROUNDING,
            Kind::Distribution => 2.0 * floor,
        };
        let (name, process) = (case.name, case.process.name());
        curves.push(Curve { name, process, kind, slope: slope(&errors, least), errors });
    }
    Ok(Measured { curves, floor })
}

/// Distance between where the sampler and the exact flow end.
///
/// An inversion goes from the end of the exact flow to the noise that the flow came from.
fn flow_error(case: &Case, run: Run, flows: &mut ExactFlows) -> Result<f64> {
    let ExactFlow { noise, data, .. } = flows.of(&run)?;
    Ok(match case.sampler.starts_from_data() {
        true => root_mean_square(noise, &run.invert(data, |_| {})?),
        false => root_mean_square(data, &run.sample(|_| {})?),
    })
}

/// Both ends of the exact flow, by the level that it starts from.
#[derive(Default)]
struct ExactFlows(Vec<ExactFlow>);

struct ExactFlow {
    first: NoiseLevel,
    noise: Vec<Point>,
    data: Vec<Point>,
}

impl ExactFlows {
    fn of(&mut self, run: &Run) -> Result<&ExactFlow> {
        let first = run.first_level();
        let index = match self.0.iter().position(|flow| flow.first == first) {
            Some(index) => index,
            None => {
                let noise = run.initial_points()?;
                let data = noise.iter().map(|&z| exact_flow(z, first.sigma())).collect();
                self.0.push(ExactFlow { first, noise, data });
                self.0.len() - 1
            }
        };
        Ok(&self.0[index])
    }
}

fn root_mean_square(some: &[Point], others: &[Point]) -> f64 {
    let squares =
        some.iter().zip(others).map(|(p, q)| (p[0] - q[0]).powi(2) + (p[1] - q[1]).powi(2));
    (squares.sum::<f64>() / some.len() as f64).sqrt()
}

/// Least squares through the logarithms.
fn slope(errors: &[(usize, f64)], least: f64) -> Option<f64> {
    let told = errors
        .iter()
        .zip(BUDGETS)
        .filter(|((_, error), budget)| *budget >= SLOPE_FROM && *error > least);
    let logs: Vec<(f64, f64)> = told.map(|((n, e), _)| ((*n as f64).ln(), e.ln())).collect();
    if logs.len() < 2 {
        return None;
    }
    let count = logs.len() as f64;
    let (x, y) = (
        logs.iter().map(|log| log.0).sum::<f64>() / count,
        logs.iter().map(|log| log.1).sum::<f64>() / count,
    );
    let covariance: f64 = logs.iter().map(|log| (log.0 - x) * (log.1 - y)).sum();
    Some(covariance / logs.iter().map(|log| (log.0 - x).powi(2)).sum::<f64>())
}

/// Samples along some directions, each sorted.
struct Slices(Vec<Vec<f64>>);

impl Slices {
    fn new(points: &[Point]) -> Self {
        let along = |direction| {
            let (sin, cos) = (PI * direction as f64 / DIRECTIONS as f64).sin_cos();
            let mut values: Vec<f64> = points.iter().map(|[x, y]| cos * x + sin * y).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        Self((0..DIRECTIONS).map(along).collect())
    }

    /// The mean over the directions of the Wasserstein-1 distance to fewer `points`, whose number
    /// divides that of these samples.
    fn distance(&self, points: &[Point]) -> f64 {
        let total: f64 = self
            .0
            .iter()
            .zip(&Self::new(points).0)
            .map(|(mine, theirs)| {
                let each = mine.len() / theirs.len();
                let pairs = mine.chunks(each).zip(theirs);
                pairs.flat_map(|(some, x)| some.iter().map(move |y| (x - y).abs())).sum::<f64>()
                    / mine.len() as f64
            })
            .sum();
        total / DIRECTIONS as f64
    }
}
