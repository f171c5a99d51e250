//! Writes descriptions of restaurants for meaning representations.
//!
//! ```sh
//! cargo run --release --example data_to_text -- "name[The Vaults], eatType[pub], food[Italian]"
//! ```

#![recursion_limit = "256"]

use std::io::{Write, read_to_string, stdin, stdout};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use latent_text::{Choice, GuidanceConfig, LatentText, Request};

use crate::meaning::Meaning;

#[path = "../common/mod.rs"]
mod common;
mod meaning;

/// Writes a text for every meaning: slots with values, such as
/// "name[The Vaults], eatType[pub], food[Italian]".
///
/// The slots are name, eatType, food, priceRange, customer rating, area, familyFriendly and near, in any
/// order.
#[derive(Parser)]
struct Arguments {
    /// The meanings [default: the lines of stdin, of which blank ones are passed over].
    meanings: Vec<String>,
    /// The model's folder.
    #[arg(long, default_value = "models/e2e-data-to-text")]
    model: PathBuf,
    /// Seed; the text for meaning number i of a seed is the same whatever follows.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Texts that are sampled for a meaning; the one that says most of it is printed.
    #[arg(long, value_name = "N", default_value_t = 3)]
    candidates: usize,
    /// Scale of classifier-free guidance; 1 is none [default: the model's own].
    #[arg(long, value_name = "W")]
    guidance: Option<f64>,
    /// Denoising steps [default: the model's own].
    #[arg(long)]
    steps: Option<usize>,
    /// flex, ndarray, wgpu, vulkan, metal or cuda, as far as compiled in [default: flex].
    #[arg(long)]
    device: Option<String>,
    /// Texts that are sampled together.
    #[arg(long, default_value_t = 32)]
    batch_size: usize,
}

fn main() -> ExitCode {
    latent_text_workspace::keep_memory();
    common::report(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let sources = meanings(arguments)?;
    if sources.is_empty() {
        return Ok(());
    }
    let device = common::device(arguments.device.as_deref())?;
    let model = LatentText::load(&arguments.model, &device)?;
    let request = Request {
        count: sources.len(),
        seed: arguments.seed,
        sources,
        guidance: arguments.guidance.map(|scale| GuidanceConfig::ClassifierFree { scale }),
        candidates: arguments.candidates,
        choice: Choice::Coverage,
        steps: arguments.steps,
        batch_size: arguments.batch_size,
        ..Request::default()
    };
    let progress = ProgressBar::new(0).with_style(ProgressStyle::with_template(
        "text {msg} step {pos}/{len} {bar:30} {per_sec} {eta} left",
    )?);
    let generated = model.generate(&request, |preview| {
        progress.set_length(preview.steps as u64);
        progress.set_position(preview.step as u64);
        progress.set_message(format!("{}/{}", preview.first + preview.texts, request.count));
        ControlFlow::Continue(())
    });
    progress.finish_and_clear();
    let mut out = stdout().lock();
    for text in generated? {
        writeln!(out, "{}", common::one_line(&text.text)).context("cannot write to stdout")?;
    }
    out.flush().context("cannot write to stdout")
}

/// The meanings as the model reads them.
fn meanings(arguments: &Arguments) -> Result<Vec<String>> {
    let lines = if arguments.meanings.is_empty() {
        let text = read_to_string(stdin()).context("cannot read stdin")?;
        text.lines().filter(|line| !line.trim().is_empty()).map(str::to_string).collect()
    } else {
        arguments.meanings.clone()
    };
    let read = |(number, line): (usize, &String)| -> Result<String> {
        let meaning = Meaning::parse(line).with_context(|| {
            let number = number + 1;
            format!("meaning {number} can't be read; write it as name[The Vaults], food[Italian]")
        })?;
        Ok(meaning.to_string())
    };
    lines.iter().enumerate().map(read).collect()
}
