//! Writes new texts with a trained model.
//!
//! ```sh
//! cargo run --release --example generate -- --count 8
//! ```

#![recursion_limit = "256"]

use std::fs;
use std::io::{Write, stdout};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use burn::tensor::FloatDType;
use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use latent_text::diffusion::SamplerKind;
use latent_text::{
    Choice, Generated, GuidanceConfig, LatentText, Lengths, Request, Similarity, StepPreview,
};

mod common;

/// Generates texts with a latent diffusion model.
#[derive(Parser)]
struct Arguments {
    /// The model's folder.
    #[arg(long, default_value = "models/e2e-small")]
    model: PathBuf,
    /// How many texts [default: 8, or as many as sources].
    #[arg(long)]
    count: Option<usize>,
    /// Seed; text number i of a seed is the same whatever the count.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A label that the texts are to have; given several times, the texts take them in turn.
    #[arg(long = "label", value_name = "NAME")]
    labels: Vec<String>,
    /// A source text to write a text for; given several times, the texts are for each in turn.
    #[arg(long = "source", value_name = "TEXT", conflicts_with = "sources_file")]
    sources: Vec<String>,
    /// A file with a source text on each line.
    #[arg(long = "sources", value_name = "FILE")]
    sources_file: Option<PathBuf>,
    /// Lets a model for sources write texts without one.
    #[arg(long)]
    without_source: bool,
    /// Cuts off sources that are longer than the model reads, in place of refusing them.
    #[arg(long)]
    truncate_sources: bool,
    /// Scale of classifier-free guidance: 1 is none, more strengthens label and source [default: the
    /// model's own].
    #[arg(long, value_name = "W")]
    guidance: Option<f64>,
    /// Scale of autoguidance in its place, which leads away from the weaker denoiser that the model has.
    #[arg(long, value_name = "W", conflicts_with = "guidance")]
    autoguidance: Option<f64>,
    /// How many tokens texts are to have, for a model whose texts have latents in varying number: `drawn`
    /// (from the lengths of the training set), `predicted`, or a list such as 12,20, which the texts take
    /// in turn [default: predicted if the model can, else drawn].
    #[arg(long, value_name = "LIST", value_parser = lengths)]
    lengths: Option<Lengths>,
    /// Candidates for each text.
    #[arg(long, value_name = "N", default_value_t = 1)]
    candidates: usize,
    /// How one of the candidates is chosen [default: mbr-rouge2 if there are several].
    #[arg(long, value_enum)]
    choose: Option<Choose>,
    /// Prints all candidates: below their text and indented by a tab, or in the JSON object.
    #[arg(long)]
    with_candidates: bool,
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
    /// What the networks compute in; bf16 takes half the memory and is faster on GPUs that have it, slower on
    /// CPUs.
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    precision: Precision,
    /// Plain lines, or one JSON object a line.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Shows on stderr how the first text sharpens.
    #[arg(long)]
    show_steps: bool,
    /// Tells on stderr after how many seconds the model was loaded, and the texts were there.
    #[arg(long)]
    times: bool,
    /// Texts that are sampled together.
    #[arg(long, default_value_t = 32)]
    batch_size: usize,
    /// Keeps the device from recording a denoising step, or a token of decoding, and replaying it: to
    /// compare, or to save memory. In a program of your own, record on the thread that loaded the model, and
    /// while no other thread allocates memory on the device; else switch it off.
    #[arg(long)]
    no_graphs: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Choose {
    /// The first, that is at random.
    First,
    /// Minimum Bayes risk by ROUGE-2: the one most like all others.
    #[value(name = "mbr-rouge2")]
    MbrRouge2,
    /// Minimum Bayes risk by BLEU.
    MbrBleu,
    /// The one that the decoder finds most likely.
    Likelihood,
    /// The one that says most of its source.
    Coverage,
}

#[derive(Clone, Copy, ValueEnum)]
enum Precision {
    F32,
    Bf16,
}

impl Precision {
    fn dtype(self) -> FloatDType {
        match self {
            Self::F32 => FloatDType::F32,
            Self::Bf16 => FloatDType::BF16,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Jsonl,
}

/// How many of the estimates on the way are decoded with `--show-steps`.
const PREVIEWS: usize = 10;

fn main() -> ExitCode {
    latent_text_workspace::keep_memory();
    common::report(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let start = Instant::now();
    let device = common::device(arguments.device.as_deref())?;
    let model = LatentText::load(&arguments.model, &device)?.cast(arguments.precision.dtype())?;
    let loaded = start.elapsed();
    let request = request(arguments)?;
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
    if arguments.times {
        let (loaded, generated) = (loaded.as_secs_f64(), start.elapsed().as_secs_f64());
        eprintln!("loaded after {loaded:.2} s, generated after {generated:.2} s");
    }
    print(&generated?, arguments.format).context("cannot write to stdout")
}

fn request(arguments: &Arguments) -> Result<Request> {
    let sources = match &arguments.sources_file {
        Some(file) => read_lines(file)?,
        None => arguments.sources.clone(),
    };
    let usual = if sources.is_empty() { 8 } else { sources.len() };
    Ok(Request {
        count: arguments.count.unwrap_or(usual),
        seed: arguments.seed,
        labels: arguments.labels.clone(),
        sources,
        without_source: arguments.without_source,
        truncate_sources: arguments.truncate_sources,
        guidance: guidance(arguments),
        lengths: arguments.lengths.clone(),
        candidates: arguments.candidates,
        with_candidates: arguments.with_candidates,
        choice: choice(arguments.choose, arguments.candidates),
        steps: arguments.steps,
        sampler: arguments.sampler,
        batch_size: arguments.batch_size,
        graphs: !arguments.no_graphs,
        ..Request::default()
    })
}

fn read_lines(file: &Path) -> Result<Vec<String>> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    ensure!(!text.is_empty(), "{} holds no sources", file.display());
    Ok(text.lines().map(str::to_string).collect())
}

fn lengths(text: &str) -> Result<Lengths, String> {
    match text {
        "drawn" => return Ok(Lengths::Drawn),
        "predicted" => return Ok(Lengths::Predicted),
        _ => {}
    }
    let lengths = text.split(',').map(|length| length.trim().parse());
    let lengths: Result<Vec<usize>, _> = lengths.collect();
    let lengths = lengths.map_err(|_| "it must be drawn, predicted, or numbers such as 12,20")?;
    Ok(Lengths::Given(lengths))
}

fn guidance(arguments: &Arguments) -> Option<GuidanceConfig> {
    let classifier_free = |scale| GuidanceConfig::ClassifierFree { scale };
    let autoguidance = |scale| GuidanceConfig::Autoguidance { scale };
    arguments.guidance.map(classifier_free).or(arguments.autoguidance.map(autoguidance))
}

fn choice(choose: Option<Choose>, candidates: usize) -> Choice {
    match choose {
        None if candidates == 1 => Choice::First,
        Some(Choose::First) => Choice::First,
        None | Some(Choose::MbrRouge2) => Choice::Mbr(Similarity::Rouge2),
        Some(Choose::MbrBleu) => Choice::Mbr(Similarity::Bleu),
        Some(Choose::Likelihood) => Choice::Likelihood,
        Some(Choose::Coverage) => Choice::Coverage,
    }
}

/// Decodes the estimate of the first text at some of the steps.
fn show(model: &LatentText, preview: &StepPreview<'_>, progress: &ProgressBar) -> Result<()> {
    let every = preview.steps.div_ceil(PREVIEWS);
    if preview.step != 1 && preview.step != preview.steps && !preview.step.is_multiple_of(every) {
        return Ok(());
    }
    let x0 = preview.x0.clone().of_texts(0..1);
    let texts = model.decode(x0, &model.config.decoding, &[0])?;
    let text = common::one_line(&texts[0]);
    progress.suspend(|| eprintln!("{:>5}/{}  {text}", preview.step, preview.steps));
    Ok(())
}

fn print(generated: &[Generated], format: Format) -> Result<()> {
    let mut out = stdout().lock();
    for text in generated {
        match format {
            Format::Text => {
                writeln!(out, "{}", common::one_line(&text.text))?;
                for candidate in &text.candidates {
                    writeln!(out, "\t{}", common::one_line(candidate))?;
                }
            }
            Format::Jsonl => writeln!(out, "{}", serde_json::to_string(text)?)?,
        }
    }
    Ok(out.flush()?)
}
