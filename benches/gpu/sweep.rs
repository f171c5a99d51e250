//! The denoiser's cost against the batch and against the number of latents.

use std::path::Path;

use anyhow::Result;
use latent_text::denoiser::DenoiserConfig;
use latent_text::nn::cast_module;
use serde::Serialize;

use crate::arguments::NumberFormat;
use crate::forward::Forward;
use crate::timing::Runs;
use crate::{Bench, plot};

const RUNS: Runs = Runs { most: 15, seconds: 2.0, chained: 5 };
/// A shape that is new to the device may be tuned for long.
const LEAST_SECONDS: f64 = 15.0;

/// What was measured, by size.
#[derive(Default, Serialize)]
pub struct Sweep {
    /// Against the batch.
    pub batch: Vec<Point>,
    /// Against the number of latents.
    pub length: Vec<Point>,
}

#[derive(Serialize)]
pub struct Point {
    pub size: usize,
    pub ms: f64,
    pub chained_ms: Option<f64>,
    pub graph_ms: Option<f64>,
}

pub fn run(bench: &mut Bench, format: NumberFormat, svg: Option<&Path>) -> Result<()> {
    let sweep = &bench.shapes.sweep;
    let (batch, latents) = (sweep.batch, bench.shapes.latents);
    let batches = sweep.batches.iter().map(|&batch| (batch, [batch, latents])).collect();
    let lengths = sweep.lengths.iter().map(|&length| (length, [batch, length])).collect();
    let by_batch = bench.points(batches, format)?;
    bench.report.sweep.batch = by_batch;
    let by_length = bench.points(lengths, format)?;
    bench.report.sweep.length = by_length;
    match svg {
        Some(svg) => {
            let fixed = [format!("{latents} latents"), format!("batch {batch}")];
            plot::write(svg, &bench.report.sweep, &fixed)
        }
        None => Ok(()),
    }
}

impl Bench {
    /// The cost at each `[batch, latents]`.
    fn points(
        &mut self,
        sizes: Vec<(usize, [usize; 2])>,
        format: NumberFormat,
    ) -> Result<Vec<Point>> {
        let longest = sizes.iter().map(|(_, [_, latents])| *latents).max().unwrap_or(1);
        let config = DenoiserConfig { max_latents: longest, ..self.shapes.denoiser.clone() };
        let denoiser = cast_module(config.init(&self.device), format.dtype());
        let mut points = Vec::new();
        for (size, [batch, latents]) in sizes {
            let name = format!("sweep: denoiser forward {format} b{batch} n{latents}");
            if self.report.left() < LEAST_SECONDS {
                self.report.remark(name, format!("skipped: {:.0} s left", self.report.left()));
                continue;
            }
            let inputs = self.inputs([batch, latents, config.latent_dim], format);
            let Forward { calls, graph } = self.forward(&name, &denoiser, &inputs, RUNS)?;
            points.push(Point {
                size,
                ms: 1e3 * calls.median,
                chained_ms: calls.chained.map(|seconds| 1e3 * seconds),
                graph_ms: graph.map(|timing| 1e3 * timing.median),
            });
        }
        Ok(points)
    }
}
