//! Rows for people and for `tools/performance.py`.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use burn::tensor::Device;
use latent_text::nn::write_atomically;
use serde::Serialize;
use serde_json::{Value, json};

use crate::arguments::{Arguments, is_wanted};
use crate::sweep::Sweep;
use crate::timing::Timing;

/// The backends and libraries that a program may have been compiled with.
const FEATURES: [(&str, bool); 6] = [
    ("flex", cfg!(feature = "flex")),
    ("ndarray", cfg!(feature = "ndarray")),
    ("wgpu", cfg!(feature = "wgpu")),
    ("vulkan", cfg!(feature = "vulkan")),
    ("metal", cfg!(feature = "metal")),
    ("cuda", cfg!(feature = "cuda")),
];

/// What the numbers depend on.
#[derive(Serialize)]
pub struct Environment {
    latent_text: &'static str,
    device: String,
    compiled: Vec<&'static str>,
    threads: usize,
    params: usize,
}

/// A row as PyTorch's bench has it, with the first and the chained calls besides.
#[derive(Serialize)]
struct Row {
    name: String,
    ms: Option<f64>,
    per_s: Option<f64>,
    note: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chained_ms: Option<f64>,
}

pub struct Report {
    environment: Environment,
    arguments: Value,
    only: Vec<String>,
    path: Option<PathBuf>,
    budget_s: f64,
    started: Instant,
    rows: Vec<Row>,
    pub sweep: Sweep,
}

impl Environment {
    pub fn new(device: &Device, params: usize) -> Self {
        Self {
            latent_text: env!("CARGO_PKG_VERSION"),
            device: format!("{device:?}"),
            compiled: FEATURES.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            params,
        }
    }
}

impl Report {
    pub fn new(environment: Environment, arguments: &Arguments) -> Self {
        println!(
            "{} ({} threads), {} parameters, budget {:.0} s",
            environment.device, environment.threads, environment.params, arguments.budget_s
        );
        Self {
            environment,
            arguments: json!(arguments),
            only: arguments.only.clone(),
            path: arguments.json.clone(),
            budget_s: arguments.budget_s,
            started: Instant::now(),
            rows: Vec::new(),
            sweep: Sweep::default(),
        }
    }

    /// Whether a section is to run.
    pub fn begin(&mut self, title: &str, needed_s: f64) -> bool {
        if !is_wanted(&self.only, title) {
            return false;
        }
        println!("\n-- {title}  (t = {:.0} s)", self.elapsed());
        let enough = self.left() >= needed_s.max(1.0);
        if !enough {
            self.remark(title, format!("skipped: {:.0} s left", self.left()));
        }
        enough
    }

    /// Seconds of the budget that are left.
    pub fn left(&self) -> f64 {
        self.budget_s - self.elapsed()
    }

    fn elapsed(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// A row of something that does `items` at a time.
    pub fn row(&mut self, name: impl Into<String>, timing: &Timing, items: Option<usize>) {
        let mut note = format!("n={}, first {:.2} s", timing.runs, timing.first);
        if let Some(chained) = timing.chained {
            note.push_str(&format!(", chained {:.3} ms", 1e3 * chained));
        }
        self.add(Row {
            first_ms: Some(1e3 * timing.first),
            chained_ms: timing.chained.map(|chained| 1e3 * chained),
            ..Row::new(name, Some(timing.median), items, note)
        });
    }

    /// A row that was not measured but computed from others.
    pub fn computed(
        &mut self,
        name: impl Into<String>,
        seconds: f64,
        items: Option<usize>,
        note: &str,
    ) {
        self.add(Row::new(name, Some(seconds), items, note.to_string()));
    }

    /// A row without a time.
    pub fn remark(&mut self, name: impl Into<String>, note: impl Into<String>) {
        self.add(Row::new(name, None, None, note.into()));
    }

    fn add(&mut self, row: Row) {
        println!("  {row}");
        self.rows.push(row);
    }

    /// Writes the file as far as it goes.
    pub fn save(&self) -> Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let content = json!({
            "env": self.environment,
            "rows": self.rows,
            "sweep": self.sweep,
            "args": self.arguments,
        });
        let text = serde_json::to_string_pretty(&content)?;
        write_atomically(path, |file| file.write_all(text.as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    pub fn finish(&self) -> Result<()> {
        println!("\n==== summary");
        for row in &self.rows {
            println!("{row}");
        }
        println!("{:.1} s in all", self.elapsed());
        self.save()
    }
}

impl Row {
    fn new(
        name: impl Into<String>,
        seconds: Option<f64>,
        items: Option<usize>,
        note: String,
    ) -> Self {
        Self {
            name: name.into(),
            ms: seconds.map(|seconds| 1e3 * seconds),
            per_s: seconds.zip(items).map(|(seconds, items)| items as f64 / seconds),
            note,
            first_ms: None,
            chained_ms: None,
        }
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = self.ms.map_or("-".to_string(), |ms| format!("{ms:.3} ms"));
        let per_s = self.per_s.map_or(String::new(), |per_s| format!("{per_s:.1}/s"));
        write!(f, "{:58} {ms:>14} {per_s:>14}  {}", self.name, self.note)
    }
}

/// What `run` answers, with a panic as an error.
pub fn caught(run: impl FnOnce() -> Result<()>) -> Result<()> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let message = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        Err(anyhow!("panicked: {}", message.unwrap_or("without a message")))
    })
}
