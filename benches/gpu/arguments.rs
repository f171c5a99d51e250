//! The command line.

use std::fmt::{self, Display};
use std::path::PathBuf;

use burn::tensor::{Device, FloatDType};
use clap::{Parser, ValueEnum};
use latent_text::training::Precision;
use serde::Serialize;

/// Measures the stages of a latent text diffusion at full size.
#[derive(Parser, Serialize)]
pub struct Arguments {
    /// Runs only sections whose title has one of these words, which commas separate. Those of `--check` are
    /// streams, operations, denoiser and decoding.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// Batches of the denoiser and its training.
    #[arg(long, value_delimiter = ',', default_value = "64,256")]
    pub batches: Vec<usize>,
    /// Number formats. The first is that of training, sampling and beam search.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "bf16,f32")]
    pub precision: Vec<NumberFormat>,
    /// Seconds for everything; sections that come later are left out.
    #[arg(long, default_value_t = 540.0)]
    pub budget_s: f64,
    /// Also writes the rows to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Small shapes, for a rehearsal on a CPU.
    #[arg(long)]
    pub tiny: bool,
    /// Measures nothing, but compares what the fast paths compute with the plain ones: outputs, gradients,
    /// streams, texts.
    #[arg(long)]
    pub check: bool,
    /// Also measures the denoiser against the batch and the number of latents.
    #[arg(long)]
    pub sweep: bool,
    /// Draws the sweep into this SVG file.
    #[arg(long, value_name = "FILE", requires = "sweep")]
    pub plot: Option<PathBuf>,
    /// flex, ndarray, wgpu, vulkan, metal or cuda, as far as compiled in [default: flex].
    #[arg(long)]
    pub device: Option<String>,
}

/// The number format of a row; in training that of the passes, whose master weights are f32.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NumberFormat {
    /// Brain floating point.
    Bf16,
    /// Single precision.
    F32,
    /// Single precision, but for the factors of products, which have ten binary digits.
    #[cfg(feature = "cuda")]
    Tf32,
}

impl Arguments {
    /// Whether a section of this title is to run.
    pub fn wants(&self, title: &str) -> bool {
        is_wanted(&self.only, title)
    }

    /// Those of the wanted formats that the device computes in.
    pub fn formats_of(&self, device: &Device) -> Vec<NumberFormat> {
        let (able, unable): (Vec<_>, Vec<_>) =
            self.precision.iter().partition(|format| device.supports_dtype(format.dtype()));
        for format in unable {
            eprintln!("{format} is left out: the device does not compute in it");
        }
        able
    }
}

/// Whether a title has one of the words, if there are any.
pub fn is_wanted(words: &[String], title: &str) -> bool {
    words.is_empty() || words.iter().any(|word| title.contains(word.as_str()))
}

impl NumberFormat {
    /// The same for a training.
    pub fn precision(self) -> Precision {
        match self {
            Self::Bf16 => Precision::Bf16,
            _ => Precision::F32,
        }
    }

    /// From now on, products of f32 are computed as this format has them.
    pub fn choose(self) {
        #[cfg(feature = "cuda")]
        latent_text::allow_tf32(self == Self::Tf32);
    }

    /// The dtype of parameters and activations.
    pub fn dtype(self) -> FloatDType {
        self.precision().dtype()
    }
}

impl Display for NumberFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
            #[cfg(feature = "cuda")]
            Self::Tf32 => "tf32",
        })
    }
}
