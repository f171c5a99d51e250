use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::{Device, FloatDType};
use indicatif::{ProgressBar, ProgressStyle};
use latent_text_autoencoder::{
    LanguageAutoencoder, LatentStatistics, LatentStatisticsAccumulator, Latents,
};
use latent_text_language_model::TokenBatch;
use latent_text_nn::weights::{TensorFile, WeightsError};
use latent_text_nn::write_atomically;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use super::LatentSet;
use crate::TrainingError;
use crate::padding::Padding;
use crate::trainer::Precision;

/// The one entry of the file's metadata: of several, the order would differ from run to run.
const ORIGIN: &str = "origin";
/// The one tensor: `[texts, latents, dim]`, or where their number varies `[vectors, dim]`, those of all
/// texts one behind the other.
const LATENTS: &str = "latents";

/// What a cache was made from, and what was found on the way.
#[derive(Serialize, Deserialize)]
struct Origin {
    fingerprint: String,
    statistics: LatentStatistics,
}

/// What the latents of a set are made from.
pub struct LatentSource<'a> {
    /// The trained autoencoder.
    pub autoencoder: &'a LanguageAutoencoder,
    /// The texts as token ids with special tokens.
    pub tokens: &'a [Vec<u32>],
    /// The class of each, the null class for one without a label; empty without classes.
    pub classes: Vec<usize>,
    /// Texts encoded at once.
    pub batch_size: usize,
    /// Lengths of the batches.
    pub padding: Padding,
    /// Number format of the passes; what is kept is f32.
    pub precision: Precision,
    /// Tells apart the autoencoders and texts that a cache may come from.
    pub fingerprint: String,
}

/// The latents of `source`: from the file at `path` if it is whole and was made from the same source,
/// else computed and written there.
///
/// # Errors
/// [`TrainingError::File`], [`TrainingError::Weights`] or [`TrainingError::Autoencoder`];
/// [`TrainingError::Interrupted`] if `stop` was set on the way, [`TrainingError::Setting`] if there is
/// no text.
pub fn cached_latents(
    path: &Path,
    source: LatentSource<'_>,
    device: &Device,
    stop: &AtomicBool,
) -> Result<LatentSet, TrainingError> {
    if let Some(set) = read(path, &source, device)? {
        return Ok(set);
    }
    compute(path, &source, device, stop)?;
    read(path, &source, device)?.ok_or_else(|| TrainingError::File {
        action: "read back",
        path: path.to_path_buf(),
        source: std::io::Error::other("the file changed while it was in use"),
    })
}

/// Where the latents of a split are kept.
pub fn cache_path(folder: &Path, split: &str) -> PathBuf {
    folder.join(format!("latents-{split}.safetensors"))
}

fn read(
    path: &Path,
    source: &LatentSource<'_>,
    device: &Device,
) -> Result<Option<LatentSet>, TrainingError> {
    if !path.exists() {
        return Ok(None);
    }
    let file = match TensorFile::open(path) {
        Ok(file) => file,
        Err(WeightsError::Format { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let origin: Option<Origin> =
        file.metadata(ORIGIN).and_then(|text| serde_json::from_str(&text).ok());
    let Some(Origin { fingerprint, statistics }) = origin else { return Ok(None) };
    if fingerprint != source.fingerprint {
        return Ok(None);
    }
    let classes = source.classes.clone();
    if source.autoencoder.has_varying_lengths() {
        // One latent for each token.
        let lengths: Vec<usize> = source.tokens.iter().map(Vec::len).collect();
        let vectors = file.tensor::<2>(LATENTS, device)?;
        let whole = vectors.dims()[0] == lengths.iter().sum::<usize>();
        let set = || LatentSet::varying(vectors, &lengths, source.padding, classes, statistics);
        return Ok(whole.then(set));
    }
    let latents = file.tensor::<3>(LATENTS, device)?;
    let whole = latents.dims()[0] == source.tokens.len();
    Ok(whole.then(|| LatentSet::even(latents, classes, statistics)))
}

fn compute(
    path: &Path,
    source: &LatentSource<'_>,
    device: &Device,
    stop: &AtomicBool,
) -> Result<(), TrainingError> {
    let autoencoder = source.autoencoder.cast(source.precision.dtype());
    let dim = autoencoder.latent_dim();
    let progress = ProgressBar::new(source.tokens.len() as u64).with_style(
        ProgressStyle::with_template("latents {pos}/{len} {bar:30} {per_sec} {eta} left")
            .expect("the template is a constant"),
    );
    let mut statistics = LatentStatisticsAccumulator::new(dim);
    let mut values: Vec<u8> = Vec::new();
    for rows in source.tokens.chunks(source.batch_size) {
        if stop.load(Ordering::Relaxed) {
            return Err(TrainingError::Interrupted);
        }
        for text in encode(&autoencoder, rows, source, device).real_values()? {
            statistics.add_values(&text);
            values.extend(text.iter().flat_map(|value| value.to_le_bytes()));
        }
        progress.inc(rows.len() as u64);
    }
    progress.finish_and_clear();
    if source.tokens.is_empty() {
        return Err(TrainingError::setting("data", "there is no text to make latents of"));
    }
    let vectors = values.len() / size_of::<f32>() / dim;
    let shape = if autoencoder.has_varying_lengths() {
        vec![vectors, dim]
    } else {
        vec![source.tokens.len(), vectors / source.tokens.len(), dim]
    };
    let fingerprint = source.fingerprint.clone();
    write(path, Origin { fingerprint, statistics: statistics.finish()? }, shape, &values)
}

/// The latents of a few texts, in f32.
fn encode(
    autoencoder: &LanguageAutoencoder,
    rows: &[Vec<u32>],
    source: &LatentSource<'_>,
    device: &Device,
) -> Latents {
    // The last batch is filled up, so that GPU kernels are tuned for few shapes.
    let mut ids = rows.to_vec();
    ids.resize(source.batch_size, rows[0].clone());
    let pad_id = autoencoder.language_model.tokenizer.pad_id();
    let (ids, mask) = source.padding.tensors(&TokenBatch { ids, pad_id }, device);
    let latents = autoencoder.encode_tokens(ids, mask).of_texts(0..rows.len());
    latents.map(|values| values.cast(FloatDType::F32))
}

fn write(
    path: &Path,
    origin: Origin,
    shape: Vec<usize>,
    values: &[u8],
) -> Result<(), TrainingError> {
    let origin = serde_json::to_string(&origin).expect("statistics are plain numbers");
    let metadata = [(ORIGIN.to_string(), origin)];
    let view = TensorView::new(Dtype::F32, shape, values)
        .expect("the buffer holds four bytes for each of its numbers");
    let bytes = safetensors::serialize([(LATENTS, view)], Some(metadata.into()))
        .expect("one whole tensor can be serialised");
    write_atomically(path, |file| file.write_all(&bytes))
        .map_err(TrainingError::file("write", path))
}
