//! This crate's side of `tools/language_model_speed`: does the tasks that it reads as lines of JSON,
//! and answers each with one line of JSON when it is done. The tool measures.
//!
//! ```sh
//! cargo bench --no-run --bench language_model_worker
//! ```

#![recursion_limit = "256"]

use std::io::{BufRead, Write, stdin, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use burn::tensor::{Bool, Device, Tensor};
use clap::Parser;
use latent_text::language_model::{EncoderDecoder, EncoderDecoderConfig, GenerationConfig};
use latent_text::nn::weights::TensorFile;
use safetensors::tensor::TensorView;
use serde::{Deserialize, Serialize};

#[derive(Parser)]
struct Arguments {
    /// Model folder.
    model: PathBuf,
    /// Token ids and masks.
    inputs: PathBuf,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What to do, and what it needs.
#[derive(Deserialize)]
#[serde(tag = "task", rename_all = "snake_case", deny_unknown_fields)]
enum Task {
    /// Reads the model folder.
    Load,
    /// Computes the states of all texts.
    Encode,
    /// Writes a text for each of the first `texts` states that were computed.
    Generate { texts: usize, config: Box<GenerationConfig> },
    /// Writes encoder states and logits of padded texts to a file.
    Outputs { file: PathBuf },
}

#[derive(Serialize)]
struct Answer {
    /// Ids of generated texts.
    ids: Vec<Vec<u32>>,
}

struct Worker {
    folder: PathBuf,
    inputs: TensorFile,
    device: Device,
    model: Option<EncoderDecoder>,
    states: Option<Tensor<3>>,
}

fn main() -> Result<()> {
    latent_text_workspace::keep_memory();
    let arguments = Arguments::parse();
    let mut worker = Worker {
        inputs: TensorFile::open(&arguments.inputs)?,
        folder: arguments.model,
        device: Device::default(),
        model: None,
        states: None,
    };
    for line in stdin().lock().lines() {
        let answer = worker.work(serde_json::from_str(&line?)?)?;
        println!("{}", serde_json::to_string(&answer)?);
        stdout().flush()?;
    }
    Ok(())
}

impl Worker {
    fn work(&mut self, task: Task) -> Result<Answer> {
        let mut ids = Vec::new();
        match task {
            Task::Load => self.load()?,
            Task::Encode => self.encode()?,
            Task::Generate { texts, config } => ids = self.generate(texts, &config)?,
            Task::Outputs { file } => self.write_outputs(&file)?,
        }
        Ok(Answer { ids })
    }

    fn load(&mut self) -> Result<()> {
        let config = EncoderDecoderConfig::from_folder(&self.folder)?;
        self.model = Some(EncoderDecoder::load(&self.folder, &config, &self.device)?);
        Ok(())
    }

    fn model(&self) -> Result<&EncoderDecoder> {
        self.model.as_ref().context("load the model first")
    }

    fn encode(&mut self) -> Result<()> {
        let ids = self.inputs.ints::<2>("ids", &self.device)?;
        let states = self.model()?.encode(ids, None);
        self.device.sync()?;
        self.states = Some(states);
        Ok(())
    }

    fn generate(&self, texts: usize, config: &GenerationConfig) -> Result<Vec<Vec<u32>>> {
        let states = self.states.clone().context("encode the texts first")?.narrow(0, 0, texts);
        let seeds = vec![0; texts];
        let texts = self.model()?.generate(states, None, config, &seeds)?;
        Ok(texts.into_iter().map(|text| text.ids).collect())
    }

    fn write_outputs(&self, file: &Path) -> Result<()> {
        let ids = self.inputs.ints::<2>("padded_ids", &self.device)?;
        let next = self.inputs.ints::<2>("decoder_ids", &self.device)?;
        let mask: Tensor<2, Bool> = self.inputs.ints::<2>("mask", &self.device)?.bool();
        let seen = Some(mask);
        let model = self.model()?;
        let states = model.encode(ids, seen.clone());
        let logits = model.decode(next, states.clone(), seen);
        write_tensors(file, &[("states", states), ("logits", logits)])
    }
}

fn write_tensors(file: &Path, tensors: &[(&str, Tensor<3>)]) -> Result<()> {
    let mut bytes = Vec::new();
    for (name, tensor) in tensors {
        let values: Vec<f32> = tensor.clone().try_into_vec_as()?;
        bytes
            .push((*name, values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>()));
    }
    let mut views = Vec::new();
    for ((name, tensor), (_, bytes)) in tensors.iter().zip(&bytes) {
        let shape = tensor.dims().to_vec();
        views.push((*name, TensorView::new(safetensors::Dtype::F32, shape, bytes)?));
    }
    safetensors::serialize_to_file(views, None, file)?;
    Ok(())
}
