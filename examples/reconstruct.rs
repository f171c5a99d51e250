//! Sends lines from stdin through encoder, latents and decoder to stdout.
//!
//! ```sh
//! echo "The Vaults is a cheap pub." | cargo run --release --example reconstruct
//! ```

#![recursion_limit = "256"]

use std::io::{BufRead, Write, stdin, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use latent_text::LatentText;

mod common;

/// Reconstructs each line of stdin from its latents.
#[derive(Parser)]
struct Arguments {
    /// The model's folder.
    #[arg(long, default_value = "models/e2e-small")]
    model: PathBuf,
    /// flex, ndarray, wgpu, vulkan, metal or cuda, as far as compiled in [default: flex].
    #[arg(long)]
    device: Option<String>,
    /// Lines that are encoded together.
    #[arg(long, default_value_t = 64)]
    batch_size: usize,
}

fn main() -> ExitCode {
    latent_text_workspace::keep_memory();
    common::report(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    ensure!(arguments.batch_size > 0, "--batch-size must be at least 1");
    let device = common::device(arguments.device.as_deref())?;
    let model = LatentText::load(&arguments.model, &device)?;
    let mut batch = Vec::new();
    for (number, line) in stdin().lock().lines().enumerate() {
        batch.push(line.with_context(|| format!("cannot read line {} of stdin", number + 1))?);
        if batch.len() == arguments.batch_size {
            print_reconstructions(&model, &batch)?;
            batch.clear();
        }
    }
    print_reconstructions(&model, &batch)
}

fn print_reconstructions(model: &LatentText, batch: &[String]) -> Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    let lines: Vec<&str> = batch.iter().map(String::as_str).collect();
    let mut out = stdout().lock();
    for text in model.reconstruct(&lines)? {
        writeln!(out, "{}", common::one_line(&text)).context("cannot write to stdout")?;
    }
    out.flush().context("cannot write to stdout")
}
