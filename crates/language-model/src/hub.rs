//! Models by name from the Hugging Face hub.
//!
//! ```no_run
//! use burn::tensor::Device;
//! use latent_text_language_model::LanguageModel;
//! use latent_text_language_model::hub::{self, HubOptions};
//!
//! let folder = hub::download("google/flan-t5-small", &HubOptions::default())?;
//! let model = LanguageModel::load(&folder, &Device::default())?;
//! # Ok::<(), latent_text_language_model::LanguageModelError>(())
//! ```

mod cache;
mod error;
mod options;
mod place;
mod remote;
mod selection;
mod shards;

use std::path::PathBuf;

pub use self::error::HubError;
pub use self::options::HubOptions;

use self::cache::Snapshots;
use self::place::Place;
use self::remote::Remote;
use crate::LanguageModelError;

/// Brings the files of the model `name` (as `facebook/bart-base`) that
/// [`LanguageModel::load`](crate::LanguageModel::load) reads, and no others, into the cache that all
/// programs of Hugging Face share; returns their folder.
///
/// What the cache has is not downloaded again; if it has everything, the hub is not even asked. A
/// download that breaks off goes on at the next call.
///
/// # Errors
/// [`LanguageModelError::Hub`]: if there is no such model or revision, if it is not open to the caller,
/// if it has no files of a kind that this crate reads, or if the hub, or the cache, fails.
pub fn download(name: &str, options: &HubOptions) -> Result<PathBuf, LanguageModelError> {
    let place = Place::of(options, &|variable| std::env::var(variable).ok())?;
    let snapshots = Snapshots::new(&place.cache, name, &options.revision)?;
    if !options.update
        && let Some(folder) = snapshots.whole()
    {
        return Ok(folder);
    }
    if place.offline {
        return Err(HubError::NotCached { model: snapshots.model(), cache: place.cache }.into());
    }
    let remote = Remote::new(&place, &snapshots, options.progress)?;
    let listing = remote.listing()?;
    Ok(remote.fetch(&listing)?)
}
