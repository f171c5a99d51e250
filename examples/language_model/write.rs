use std::io::{StdoutLock, Write, stdout};
use std::ops::ControlFlow;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use latent_text::language_model::{GenerationConfig, LanguageModel, NewText, WrittenText};
use serde_json::json;

use crate::common::one_line;
use crate::model::source_tokens;
use crate::settings::Settings;
use crate::texts::texts;

#[derive(Args)]
pub struct Arguments {
    /// The source texts; without any, each line of stdin is one.
    texts: Vec<String>,
    #[command(flatten)]
    settings: Settings,
    /// Seed of texts that are drawn; text number i has the seed plus i.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Longest source in tokens; the rest is cut off [default: as the model takes, or 512].
    #[arg(long, value_name = "N")]
    source_tokens: Option<usize>,
    /// Sources that are worked on together.
    #[arg(long, default_value_t = 8)]
    batch_size: usize,
    /// Puts the score of a text in front of it: the log-probability of its tokens, in a beam search
    /// divided by its length to the power of the length penalty.
    #[arg(long)]
    scores: bool,
    /// Plain lines, or one JSON object a line.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Shows a text while it is being written; not for a beam search.
    #[arg(long, conflicts_with_all = ["scores", "format", "batch_size"])]
    stream: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Jsonl,
}

pub fn run(model: &LanguageModel, arguments: &Arguments) -> Result<()> {
    ensure!(arguments.batch_size > 0, "--batch-size must be at least 1");
    let settings = arguments.settings.over(model)?;
    let settings =
        GenerationConfig { with_scores: settings.with_scores || arguments.scores, ..settings };
    let most = source_tokens(model, arguments.source_tokens);
    let writer = Writer { model, arguments, settings, most };
    if arguments.stream { writer.stream() } else { writer.write() }
}

struct Writer<'a> {
    model: &'a LanguageModel,
    arguments: &'a Arguments,
    settings: GenerationConfig,
    /// Tokens of a source.
    most: usize,
}

impl Writer<'_> {
    fn write(&self) -> Result<()> {
        let mut batch = Vec::new();
        let mut first = 0;
        for text in texts(&self.arguments.texts) {
            batch.push(text?);
            if batch.len() == self.arguments.batch_size {
                self.write_batch(&batch, first)?;
                first += batch.len();
                batch.clear();
            }
        }
        self.write_batch(&batch, first)
    }

    /// Writes for sources of which the first has the number `first`.
    fn write_batch(&self, batch: &[String], first: usize) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let sources: Vec<&str> = batch.iter().map(String::as_str).collect();
        let seeds: Vec<u64> = (first..first + batch.len()).map(|index| self.seed(index)).collect();
        let written = self.model.write(&sources, self.most, &self.settings, &seeds)?;
        let mut out = stdout().lock();
        for text in &written {
            self.print(&mut out, text, first).context("cannot write to stdout")?;
        }
        out.flush().context("cannot write to stdout")
    }

    fn print(
        &self,
        out: &mut StdoutLock<'_>,
        text: &WrittenText,
        first: usize,
    ) -> std::io::Result<()> {
        let score = text.score.filter(|_| self.arguments.scores);
        match (self.arguments.format, score) {
            (Format::Text, None) => writeln!(out, "{}", one_line(&text.text)),
            (Format::Text, Some(score)) => writeln!(out, "{score:.4}\t{}", one_line(&text.text)),
            (Format::Jsonl, score) => {
                let mut line = json!({ "source": first + text.source, "text": text.text });
                if let Some(score) = score {
                    line["score"] = json!(score);
                }
                writeln!(out, "{line}")
            }
        }
    }

    /// Writes for one source after the other.
    fn stream(&self) -> Result<()> {
        ensure!(self.settings.returns == 1, "--stream shows one text for a source, not --returns");
        for (index, text) in texts(&self.arguments.texts).enumerate() {
            self.stream_text(&text?, self.seed(index))?;
        }
        Ok(())
    }

    fn stream_text(&self, source: &str, seed: u64) -> Result<()> {
        let mut out = stdout().lock();
        let mut failed = None;
        let on_text = |new: NewText| {
            let shown = write!(out, "{}", one_line(&new.piece)).and_then(|()| out.flush());
            match shown {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        };
        self.model.write_streaming(&[source], self.most, &self.settings, &[seed], on_text)?;
        let ended = failed.map_or(Ok(()), Err).and_then(|()| writeln!(out));
        ended.context("cannot write to stdout")
    }

    fn seed(&self, index: usize) -> u64 {
        self.arguments.seed.wrapping_add(index as u64)
    }
}
