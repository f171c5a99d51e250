use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use burn::tensor::{Bool, Tensor};
use clap::Args;
use latent_text::language_model::LanguageModel;
use latent_text::nn::write_atomically;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use crate::model::source_tokens;
use crate::texts::texts;

#[derive(Args)]
pub struct Arguments {
    /// The texts; without any, each line of stdin is one.
    texts: Vec<String>,
    /// The file: `states` [texts, length, d_model] in f32, and `mask` [texts, length], true at tokens
    /// that are no padding.
    #[arg(long)]
    output: PathBuf,
    /// Longest text in tokens; the rest is cut off [default: as the model takes, or 512].
    #[arg(long, value_name = "N")]
    source_tokens: Option<usize>,
}

pub fn run(model: &LanguageModel, arguments: &Arguments) -> Result<()> {
    let path = &arguments.output;
    ensure!(!path.exists(), "{} exists; choose another --output", path.display());
    let texts: Vec<String> = texts(&arguments.texts).collect::<Result<_>>()?;
    ensure!(!texts.is_empty(), "there are no texts to encode");
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let most = source_tokens(model, arguments.source_tokens);
    let (states, mask) = model.encode_texts(&texts, most)?;
    let shape = states.dims();
    write(path, states, mask)?;
    println!("states {shape:?}, mask {:?}", &shape[..2]);
    Ok(())
}

fn write(path: &Path, states: Tensor<3>, mask: Tensor<2, Bool>) -> Result<()> {
    let (states_shape, mask_shape) = (states.dims(), mask.dims());
    let states: Vec<u8> =
        states.try_into_vec_as::<f32>()?.into_iter().flat_map(f32::to_le_bytes).collect();
    let mask: Vec<u8> = mask.int().try_into_vec_as::<u8>()?;
    let views = [
        ("states", TensorView::new(Dtype::F32, states_shape.to_vec(), &states)?),
        ("mask", TensorView::new(Dtype::BOOL, mask_shape.to_vec(), &mask)?),
    ];
    let bytes = safetensors::serialize(views, None)?;
    write_atomically(path, |file| file.write_all(&bytes))
        .with_context(|| format!("cannot write {}", path.display()))
}
