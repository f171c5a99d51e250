//! Writes new texts with a trained model.
//!
//! ```sh
//! cargo run --release --example generate -- --count 8
//! ```

#![recursion_limit = "256"]

use std::io::{Write, stdout};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use latent_text::diffusion::SamplerKind;
use latent_text::{Generated, LatentText, Request, StepPreview};

mod common;

/// Generates texts with a latent diffusion model.
#[derive(Parser)]
struct Arguments {
    /// The model's folder.
    #[arg(long, default_value = "models/e2e-small")]
    model: PathBuf,
    /// How many texts.
    #[arg(long, default_value_t = 8)]
    count: usize,
    /// Seed; text number i of a seed is the same whatever the count.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A label that the texts are to have; given several times, the texts take them in turn.
    #[arg(long = "label", value_name = "NAME")]
    labels: Vec<String>,
    /// Denoising steps [default: the model's own].
    #[arg(long)]
    steps: Option<usize>,
    /// Sampler: ddpm, ddim, dpmpp2m, unipc, and others; a wrong name lists all [default: the model's
    /// own].
    #[arg(long)]
    sampler: Option<SamplerKind>,
    /// flex, ndarray, wgpu, vulkan, metal or cuda, as far as compiled in [default: flex].
    #[arg(long)]
    device: Option<String>,
    /// Plain lines, or one JSON object a line.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Shows on stderr how the first text sharpens.
    #[arg(long)]
    show_steps: bool,
    /// Texts that are sampled together.
    #[arg(long, default_value_t = 32)]
    batch_size: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Jsonl,
}

/// How many of the estimates on the way are decoded with `--show-steps`.
const PREVIEWS: usize = 10;

fn main() -> ExitCode {
    common::report(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let device = common::device(arguments.device.as_deref())?;
    let model = LatentText::load(&arguments.model, &device)?;
    let request = Request {
        count: arguments.count,
        seed: arguments.seed,
        labels: arguments.labels.clone(),
        steps: arguments.steps,
        sampler: arguments.sampler,
        batch_size: arguments.batch_size,
        ..Request::default()
    };
    let progress = ProgressBar::new(0).with_style(ProgressStyle::with_template(
        "{msg} step {pos}/{len} {bar:30} {per_sec} {eta} left",
    )?);
    let mut failed = None;
    let generated = model.generate(&request, |preview| {
        progress.set_length(preview.steps as u64);
        progress.set_position(preview.step as u64);
        progress.set_message(format!("text {}/{}", preview.first + preview.texts, request.count));
        if arguments.show_steps
            && preview.first == 0
            && let Err(error) = show(&model, &preview, &progress)
        {
            failed = Some(error);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    progress.finish_and_clear();
    if let Some(error) = failed {
        return Err(error);
    }
    print(&generated?, arguments.format).context("cannot write to stdout")
}

/// Decodes the estimate of the first text at some of the steps.
fn show(model: &LatentText, preview: &StepPreview<'_>, progress: &ProgressBar) -> Result<()> {
    let every = preview.steps.div_ceil(PREVIEWS);
    if preview.step != 1 && preview.step != preview.steps && !preview.step.is_multiple_of(every) {
        return Ok(());
    }
    let x0 = preview.x0.clone().slice(0..1);
    let texts = model.decode(x0, &model.config.decoding, &[0])?;
    let text = common::one_line(&texts[0]);
    progress.suspend(|| eprintln!("{:>5}/{}  {text}", preview.step, preview.steps));
    Ok(())
}

fn print(generated: &[Generated], format: Format) -> Result<()> {
    let mut out = stdout().lock();
    for text in generated {
        match format {
            Format::Text => writeln!(out, "{}", common::one_line(&text.text))?,
            Format::Jsonl => writeln!(out, "{}", serde_json::to_string(text)?)?,
        }
    }
    Ok(out.flush()?)
}
