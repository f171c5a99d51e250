//! Compares trainings by their metrics logs: draws their losses over each other and prints how far apart
//! they are.
//!
//! Runs of one setting with several seeds say how far apart trainings are by chance alone.
//!
//! ```sh
//! cargo run --release --example compare_runs -- f32=a/metrics.jsonl f32=b/metrics.jsonl \
//!     bf16=c/metrics.jsonl bf16=d/metrics.jsonl --output losses.svg
//! ```

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use latent_text::nn::write_atomically;

use crate::plot::Panel;
use crate::run::{Loss, Run};

#[path = "../common/charts.rs"]
mod charts;
#[path = "../common/mod.rs"]
#[allow(dead_code)] // Nothing is computed on a device.
mod common;
mod distance;
mod plot;
mod run;
mod table;

/// Compares trainings by their losses.
#[derive(Parser)]
struct Arguments {
    /// The metrics logs, each under the name of its setting; those of a setting in one order of seeds.
    #[arg(required = true, value_name = "SETTING=FILE", value_parser = named_log)]
    runs: Vec<(String, PathBuf)>,
    /// The picture, as SVG.
    #[arg(long)]
    output: PathBuf,
}

fn named_log(text: &str) -> Result<(String, PathBuf), String> {
    let (setting, file) = text.split_once('=').ok_or("must be SETTING=FILE")?;
    Ok((setting.to_string(), file.into()))
}

fn main() -> ExitCode {
    latent_text_workspace::keep_memory();
    common::report(compare(&Arguments::parse()))
}

fn compare(arguments: &Arguments) -> Result<()> {
    let runs = read(&arguments.runs)?;
    let mut stages: Vec<&str> = runs.iter().map(|run| run.stage.as_str()).collect();
    stages.sort_unstable();
    stages.dedup();
    let mut panels = Vec::new();
    for stage in stages {
        let runs: Vec<&Run> = runs.iter().filter(|run| run.stage == stage).collect();
        for loss in Loss::ALL {
            let panel =
                Panel { title: format!("{stage}: {}", loss.name()), loss, runs: runs.clone() };
            table::print(&panel.title, loss, &runs);
            panels.push(panel);
        }
    }
    write(&arguments.output, &plot::draw(&panels)?)
}

fn read(logs: &[(String, PathBuf)]) -> Result<Vec<Run>> {
    let mut runs = Vec::new();
    for (setting, log) in logs {
        let found = Run::read(setting, log, &runs)?;
        ensure!(!found.is_empty(), "{} has no losses", log.display());
        runs.extend(found);
    }
    Ok(runs)
}

fn write(svg: &Path, drawn: &str) -> Result<()> {
    write_atomically(svg, |file| file.write_all(drawn.as_bytes()))
        .with_context(|| format!("cannot write {}", svg.display()))
}
