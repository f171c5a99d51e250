//! Makes a model folder of checkpoints that LD4LG's published code saved.
//!
//! ```sh
//! cargo run --release --example convert_reference -- --diffusion saved_diff_models/roc/RUN \
//!     --autoencoder saved_latent_models/roc/RUN --language-model bart-base --output models/roc
//! ```

#![recursion_limit = "256"]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use burn::tensor::FloatDType;
use clap::{Parser, ValueEnum};
use latent_text::LatentText;
use latent_text::generation::MODEL_CONFIG_FILE;
use latent_text::reference::{Checkpoint, Converted, ReferenceModel, TextLengths};
use latent_text::training::data::{DatasetConfig, read_texts};

mod common;

/// Turns a diffusion run of LD4LG's published code, and its autoencoder run, into a model folder.
#[derive(Parser)]
struct Arguments {
    /// The run folder of the diffusion, with args.json and model.pt or best_model.pt.
    #[arg(long, value_name = "RUN")]
    diffusion: PathBuf,
    /// The run folder of the autoencoder; left out for models over the encoder's own states, as all of
    /// the first version are.
    #[arg(long, value_name = "RUN")]
    autoencoder: Option<PathBuf>,
    /// A Hugging Face folder with config and tokenizer of the language model, and its weights where
    /// there is no autoencoder.
    #[arg(long, value_name = "FOLDER")]
    language_model: PathBuf,
    /// The model folder to write; it must not hold a model yet.
    #[arg(long, value_name = "FOLDER")]
    output: PathBuf,
    /// A whole Hugging Face folder of the language model whose encoder reads sources, if the diffusion
    /// run names another one than the autoencoder's.
    #[arg(long, value_name = "FOLDER")]
    source_encoder: Option<PathBuf>,
    /// The most tokens of a source [default: as published for XSum, QQP and WMT14].
    #[arg(long, value_name = "TOKENS")]
    source_max_tokens: Option<usize>,
    /// The training texts, .txt, .csv or .jsonl with or without .gz: models without an autoencoder draw
    /// lengths as theirs.
    #[arg(long, value_name = "FILE")]
    lengths_from: Option<PathBuf>,
    /// Column or field of that file with the texts.
    #[arg(long, value_name = "NAME", default_value = "text")]
    text_column: String,
    /// The name of a class; given once for each, in order [default: those of AG News for its models].
    #[arg(long = "label", value_name = "NAME")]
    labels: Vec<String>,
    /// Takes model.pt also where there is a best_model.pt.
    #[arg(long)]
    last: bool,
    /// Width of a head of the denoiser's attention.
    #[arg(long, default_value_t = 64)]
    head_dim: usize,
    /// How weights are stored.
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    precision: Precision,
    /// flex, ndarray, wgpu, vulkan, metal or cuda, as far as compiled in [default: flex].
    #[arg(long)]
    device: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Precision {
    F32,
    F16,
    Bf16,
}

impl From<Precision> for FloatDType {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::F16 => Self::F16,
            Precision::Bf16 => Self::BF16,
        }
    }
}

fn main() -> ExitCode {
    latent_text_workspace::keep_memory();
    common::report(run(Arguments::parse()))
}

fn run(arguments: Arguments) -> Result<()> {
    let output = arguments.output.clone();
    ensure!(
        !output.join(MODEL_CONFIG_FILE).exists(),
        "{} holds a model already; choose another --output",
        output.display()
    );
    let precision = arguments.precision.into();
    let device = common::device(arguments.device.as_deref())?;
    let Converted { model, notes } =
        published(arguments)?.load(&device, |part| eprintln!("reading the {part}"))?;
    eprintln!("writing {}", output.display());
    model.save(&output, precision)?;
    for note in notes {
        eprintln!("note: {note}");
    }
    eprintln!("checking {}", output.display());
    // There may not be room for both.
    drop(model);
    let model =
        LatentText::load(&output, &device).context("the written folder can't be read back")?;
    println!("{}", summary(&model, &output));
    Ok(())
}

fn published(arguments: Arguments) -> Result<ReferenceModel> {
    let lengths = match &arguments.lengths_from {
        Some(path) => Some(TextLengths::OfTexts(texts(path, &arguments.text_column)?)),
        None => None,
    };
    Ok(ReferenceModel {
        diffusion: arguments.diffusion,
        autoencoder: arguments.autoencoder,
        language_model: arguments.language_model,
        source_encoder: arguments.source_encoder,
        checkpoint: if arguments.last { Checkpoint::Last } else { Checkpoint::Best },
        head_dim: arguments.head_dim,
        labels: (!arguments.labels.is_empty()).then_some(arguments.labels),
        source_max_tokens: arguments.source_max_tokens,
        lengths,
    })
}

fn texts(path: &Path, column: &str) -> Result<Vec<String>> {
    let dataset = DatasetConfig { text_column: column.to_string(), ..DatasetConfig::new(path) };
    let records = read_texts(&dataset, Path::new(""))?;
    Ok(records.into_iter().map(|record| record.text).collect())
}

/// The folder and what its model is, in one line.
fn summary(model: &LatentText, output: &Path) -> String {
    let config = &model.config;
    let mut parts = vec![format!(
        "{}: up to {} x {} latents",
        output.display(),
        model.autoencoder.max_latents(),
        model.autoencoder.latent_dim()
    )];
    if let Some(labels) = &config.labels {
        parts.push(format!("labels {}", labels.names().join(", ")));
    }
    if let Some(source) = &config.source {
        parts.push(format!("sources of up to {} tokens", source.max_tokens));
    }
    parts.push(format!("{} steps of {}", config.sampling.steps, config.sampling.sampler));
    parts.join("; ")
}
