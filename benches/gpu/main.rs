//! The rows of a bench of PyTorch on the shapes of LD4LG (188 million parameters, BART-base as the
//! language model), for this crate on any backend.
//!
//! ```sh
//! cargo run --release --example bench-gpu -- --tiny
//! cargo run --release --features cuda --example bench-gpu -- --device cuda --json ours.json
//! ```
//!
//! Every row is the median of single calls that each wait for the device; what the first call took, with
//! its kernels compiled and tuned, stands apart. Where many calls are cheap, the mean of several that are
//! waited for together (chained) shows whether the host was the limit. `tools/performance.py` joins the
//! JSON files of both programs.

#![recursion_limit = "256"]

mod arguments;
#[path = "../../examples/common/charts.rs"]
mod charts;
mod check;
#[path = "../common/mod.rs"]
mod common;
mod decoding;
#[path = "../../examples/common/mod.rs"]
mod device;
mod end_to_end;
mod forward;
mod memory;
mod numbers;
mod operations;
mod plot;
mod report;
mod sampling;
mod shapes;
mod streams;
mod sweep;
mod timing;
mod train;
mod train_step;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use burn::module::Module;
use burn::tensor::Device;
use clap::Parser;

use arguments::{Arguments, NumberFormat};
use common::FULL_PARAMETERS;
use end_to_end::Parts;
use report::{Environment, Report};
use shapes::Shapes;

/// What all sections need.
struct Bench {
    device: Device,
    shapes: Shapes,
    report: Report,
    parts: Parts,
}

fn main() -> ExitCode {
    latent_text_workspace::keep_memory();
    device::report(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let device = device::device(arguments.device.as_deref())?;
    let shapes = if arguments.tiny { Shapes::tiny() } else { Shapes::full(&arguments.batches) };
    let parameters = shapes.denoiser.init(&device).num_params();
    ensure!(
        arguments.tiny || parameters == FULL_PARAMETERS,
        "the denoiser has {parameters} parameters, PyTorch's has {FULL_PARAMETERS}"
    );
    if arguments.check {
        return check_all(arguments, &device, &shapes);
    }
    let report = Report::new(Environment::new(&device, parameters), arguments);
    let mut bench = Bench { device, shapes, report, parts: Parts::default() };
    bench.sections(arguments)?;
    bench.report.finish()
}

/// Everything that is compared; the titles are those of `--only`.
fn check_all(arguments: &Arguments, device: &Device, shapes: &Shapes) -> Result<()> {
    let formats = arguments.formats_of(device);
    if arguments.wants("streams") {
        streams::run(device, &formats)?;
    }
    if arguments.wants("operations") {
        operations::run(device, &formats)?;
    }
    if arguments.wants("denoiser") {
        check::run(device, shapes, &formats)?;
    }
    if arguments.wants("decoding") {
        decoding::check(device, shapes, &formats)?;
    }
    Ok(())
}

impl Bench {
    fn sections(&mut self, arguments: &Arguments) -> Result<()> {
        let formats = arguments.formats_of(&self.device);
        let Some(&first) = formats.first() else { return Ok(()) };
        for &format in &formats {
            self.section(&format!("denoiser forward {format}"), 0.0, format, forward::run)?;
        }
        self.section(&format!("train step {first}"), 20.0, first, train::run)?;
        let title = format!("optimizer and EMA update {first}");
        self.section(&title, 0.0, first, train::optimizer)?;
        self.section(&format!("sampling {first}"), 20.0, first, sampling::run)?;
        for &format in &formats {
            self.section(&format!("BART greedy {format}"), 20.0, format, decoding::greedy)?;
        }
        self.section(&format!("BART beam {first}"), 20.0, first, decoding::beam)?;
        self.section("end to end", 20.0, first, end_to_end::run)?;
        if arguments.sweep {
            self.section("sweep", 20.0, first, |bench, format| {
                sweep::run(bench, format, arguments.plot.as_deref())
            })?;
        }
        Ok(())
    }

    /// Runs a section unless it is not wanted or too little time is left. What goes wrong in it becomes
    /// a row, and the other sections go on.
    fn section(
        &mut self,
        title: &str,
        needed_s: f64,
        format: NumberFormat,
        run: impl FnOnce(&mut Self, NumberFormat) -> Result<()>,
    ) -> Result<()> {
        if self.report.begin(title, needed_s) {
            format.choose();
            let result = report::caught(|| run(self, format));
            if let Err(error) = result {
                self.report.remark(title, format!("FAILED {error:#}"));
            }
            self.device.memory_cleanup();
        }
        self.report.save()
    }
}
