use std::path::{Path, PathBuf};

use anyhow::Result;
use burn::tensor::Device;
use latent_text::language_model::LanguageModel;

/// What a source is cut off to where the model takes texts of any length.
const USUAL_LENGTH: usize = 512;

/// Loads a folder, or the model of that name on the hub.
pub fn load(model: &str, device: &Device) -> Result<LanguageModel> {
    let path = Path::new(model);
    let folder = if path.is_dir() { path.to_path_buf() } else { download(model)? };
    Ok(LanguageModel::load(&folder, device)?)
}

#[cfg(feature = "hub")]
fn download(name: &str) -> Result<PathBuf> {
    use latent_text::language_model::hub;
    Ok(hub::download(name, &hub::HubOptions::default())?)
}

#[cfg(not(feature = "hub"))]
fn download(name: &str) -> Result<PathBuf> {
    anyhow::bail!(
        "there is no folder {name}; to get the model of that name from the Hugging Face hub, add \
         `--features hub` to cargo's arguments"
    )
}

/// `tokens`, or as many as the model takes.
pub fn source_tokens(model: &LanguageModel, tokens: Option<usize>) -> usize {
    tokens.or(model.config.max_positions()).unwrap_or(USUAL_LENGTH)
}
