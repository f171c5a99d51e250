//! Trains a model from raw text: tokenizer and language model, autoencoder, diffusion. With a finished
//! model's autoencoder, it trains the diffusion alone.
//!
//! ```sh
//! cargo run --release --example train -- --config examples/configs/e2e-tiny.toml --output runs/e2e-tiny
//! ```

#![recursion_limit = "256"]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use latent_text::training::{Pipeline, PipelineStage, Progress, TrainingConfig};

mod common;

/// Trains a latent text diffusion model.
#[derive(Parser)]
struct Arguments {
    /// What to train, as TOML.
    #[arg(long)]
    config: PathBuf,
    /// Where checkpoints, logs and the finished model go.
    #[arg(long)]
    output: PathBuf,
    /// Runs one stage only.
    #[arg(long, value_enum)]
    stage: Option<StageName>,
    /// Goes on where an earlier run into the same output folder stopped.
    #[arg(long)]
    resume: bool,
    /// flex, ndarray, wgpu, vulkan, metal or cuda, as far as compiled in [default: flex].
    #[arg(long)]
    device: Option<String>,
    /// Folder that the paths of data and of given models in the configuration are relative to.
    #[arg(long, default_value = ".")]
    data_root: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum StageName {
    LanguageModel,
    Autoencoder,
    Diffusion,
}

impl From<StageName> for PipelineStage {
    fn from(name: StageName) -> Self {
        match name {
            StageName::LanguageModel => Self::LanguageModel,
            StageName::Autoencoder => Self::Autoencoder,
            StageName::Diffusion => Self::Diffusion,
        }
    }
}

fn main() -> ExitCode {
    latent_text_workspace::keep_memory();
    common::report(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let config = TrainingConfig::from_file(&arguments.config)?;
    let device = common::device(arguments.device.as_deref())?;
    let stop = stop_on_ctrl_c()?;
    let pipeline = Pipeline {
        config: &config,
        data_root: &arguments.data_root,
        output: &arguments.output,
        device: &device,
        stop: &stop,
    };
    match pipeline.run(arguments.stage.map(Into::into), arguments.resume)? {
        Progress::Finished(result) => eprintln!("finished: {}", result.display()),
        Progress::Interrupted { stage, step } => {
            eprintln!("saved stage {} at step {step}; go on with --resume", stage.name());
        }
    }
    Ok(())
}

/// A flag that the first Ctrl-C (or a termination signal) sets; the second ends the program at once.
fn stop_on_ctrl_c() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let seen = stop.clone();
    ctrlc::set_handler(move || {
        if seen.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("stopping after this step; once more ends at once");
    })
    .context("cannot listen for Ctrl-C")?;
    Ok(stop)
}
