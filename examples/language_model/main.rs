//! Writes texts for texts with a pretrained language model: summaries, translations, answers, texts
//! without their masks. Also encodes texts, and tells what a model is.
//!
//! ```sh
//! cargo run --release --example language_model -- write "The Vaults is a <mask> near the river."
//! ```

#![recursion_limit = "256"]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[path = "../common/mod.rs"]
mod common;
mod encode;
mod inspect;
mod model;
mod settings;
mod texts;
mod write;

/// Works with a BART, mBART, T5, FLAN-T5 or mT5 as Hugging Face has it.
#[derive(Parser)]
struct Arguments {
    /// The model's folder; with the feature `hub` also its name on the Hugging Face hub.
    #[arg(long, global = true, default_value = "models/e2e-small/language_model")]
    model: String,
    /// flex, ndarray, wgpu, vulkan, metal or cuda, as far as compiled in [default: flex].
    #[arg(long, global = true)]
    device: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Writes a text for each text.
    Write(Box<write::Arguments>),
    /// Writes the encoder's states of texts into a safetensors file.
    Encode(encode::Arguments),
    /// Shows the model's family, sizes, special tokens and own settings.
    Inspect,
}

fn main() -> ExitCode {
    latent_text_workspace::keep_memory();
    common::report(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let device = common::device(arguments.device.as_deref())?;
    let model = model::load(&arguments.model, &device)?;
    match &arguments.command {
        Command::Write(arguments) => write::run(&model, arguments),
        Command::Encode(arguments) => encode::run(&model, arguments),
        Command::Inspect => inspect::run(&model),
    }
}
