//! Compares the samplers on a two-dimensional mixture whose denoiser is known, without a network.
//!
//! ```sh
//! cargo run --release --example samplers
//! ```

#![recursion_limit = "256"]

use std::fs;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use latent_text::nn::write_atomically;

mod cases;
#[path = "../common/charts.rs"]
#[allow(dead_code)] // It has legends of its own.
mod charts;
#[path = "../common/mod.rs"]
mod common;
mod measure;
mod mixture;
mod plot_errors;
mod plot_trajectories;
mod run;
mod table;

use cases::Times;
use measure::Measured;

/// Draws how each sampler goes from noise to a mixture of Gaussians, and measures its error.
#[derive(Parser)]
struct Arguments {
    /// Folder for `trajectories.svg` and `error.svg`.
    #[arg(long, default_value = "samplers-out")]
    output: PathBuf,
    /// Seed of all noise.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many samples each error is measured on.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(2..=1_000_000))]
    points: u64,
    /// How the steps of the cosine process are spread.
    #[arg(long, value_enum, default_value_t = Times::Uniform)]
    spacing: Times,
    /// flex, ndarray, wgpu, vulkan, metal or cuda, as far as compiled in [default: flex].
    #[arg(long)]
    device: Option<String>,
}

fn main() -> ExitCode {
    latent_text_workspace::keep_memory();
    common::report(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let device = common::device(arguments.device.as_deref())?;
    fs::create_dir_all(&arguments.output)
        .with_context(|| format!("cannot make the folder {}", arguments.output.display()))?;
    let cases = cases::cases(arguments.spacing)?;
    let trajectories = plot_trajectories::draw(&cases, arguments.seed, &device)?;
    let Measured { curves, floor } =
        measure::measure(&cases, arguments.seed, arguments.points, &device)?;
    let errors = plot_errors::draw(&curves, floor)?;

    write(&arguments.output.join("trajectories.svg"), &trajectories)?;
    write(&arguments.output.join("error.svg"), &errors)?;
    let table = table::table(&curves, floor, arguments.points);
    stdout().lock().write_all(table.as_bytes()).context("cannot write to stdout")
}

fn write(path: &Path, content: &str) -> Result<()> {
    write_atomically(path, |file| file.write_all(content.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("wrote {}", path.display());
    Ok(())
}
