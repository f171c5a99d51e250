//! The latents of a text set, computed once and kept on disk.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::{Device, FloatDType, Int, Tensor};
use indicatif::{ProgressBar, ProgressStyle};
use latent_text_autoencoder::{LanguageAutoencoder, LatentStatistics, LatentStatisticsAccumulator};
use latent_text_language_model::TokenBatch;
use latent_text_nn::weights::{TensorFile, WeightsError};
use latent_text_nn::{cast_module, write_atomically};
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use crate::TrainingError;
use crate::padding::Padding;
use crate::trainer::Precision;

/// The one entry of the file's metadata: of several, the order would differ from run to run.
const ORIGIN: &str = "origin";

/// What a cache was made from, and what was found on the way.
#[derive(Serialize, Deserialize)]
struct Origin {
    fingerprint: String,
    statistics: LatentStatistics,
}

/// The latents of a set of texts on a device, with their classes.
pub struct LatentSet {
    latents: Tensor<2>,
    shape: [usize; 3],
    classes: Vec<usize>,
    statistics: LatentStatistics,
}

impl LatentSet {
    /// How many texts.
    pub fn len(&self) -> usize {
        self.shape[0]
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The class of each text, empty without classes.
    pub fn classes(&self) -> &[usize] {
        &self.classes
    }

    /// Mean and scale over the whole set.
    pub fn statistics(&self) -> &LatentStatistics {
        &self.statistics
    }

    /// The latents of the texts `indices` (`[batch]`); shape `[batch, latents, dim]`, f32.
    pub fn select(&self, indices: Tensor<1, Int>) -> Tensor<3> {
        let [rows] = indices.dims();
        self.latents.clone().select(0, indices).reshape([rows, self.shape[1], self.shape[2]])
    }

    /// Latents `[texts, latents, dim]` made elsewhere; their statistics are left empty.
    #[cfg(test)]
    pub(crate) fn of(latents: Tensor<3>, classes: Vec<usize>) -> Self {
        let shape = latents.dims();
        let latents = latents.reshape([shape[0], shape[1] * shape[2]]);
        let statistics = LatentStatistics { mean: vec![0.0; shape[2]], scale: 1.0, count: 0 };
        Self { latents, shape, classes, statistics }
    }

    /// The same set with latents of mean 0 and standard deviation 1 by the given statistics.
    pub fn normalised(mut self, statistics: &LatentStatistics) -> Self {
        let normalised = statistics.normalise(self.latents.reshape(self.shape));
        self.latents = normalised.reshape([self.shape[0], self.shape[1] * self.shape[2]]);
        self
    }
}

/// What the latents of a set are made from.
pub struct LatentSource<'a> {
    /// The trained autoencoder.
    pub autoencoder: &'a LanguageAutoencoder,
    /// The texts as token ids with special tokens.
    pub tokens: &'a [Vec<u32>],
    /// Their classes, or none.
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
/// [`TrainingError::File`], [`TrainingError::Weights`] or [`TrainingError::Device`];
/// [`TrainingError::Interrupted`] if `stop` was
/// set on the way.
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
    let latents = file.tensor::<3>("latents", device)?;
    let shape = latents.dims();
    if shape[0] != source.tokens.len() {
        return Ok(None);
    }
    Ok(Some(LatentSet {
        latents: latents.reshape([shape[0], shape[1] * shape[2]]),
        shape,
        classes: source.classes.clone(),
        statistics,
    }))
}

fn compute(
    path: &Path,
    source: &LatentSource<'_>,
    device: &Device,
    stop: &AtomicBool,
) -> Result<(), TrainingError> {
    let dtype = source.precision.dtype();
    let language_model = &source.autoencoder.language_model;
    let encoder = cast_module(language_model.model.clone(), dtype);
    let perceiver = cast_module(source.autoencoder.perceiver.clone(), dtype);
    let pad_id = language_model.tokenizer.pad_id();
    let progress = ProgressBar::new(source.tokens.len() as u64).with_style(
        ProgressStyle::with_template("latents {pos}/{len} {bar:30} {per_sec} {eta} left")
            .expect("the template is a constant"),
    );
    let mut statistics: Option<LatentStatisticsAccumulator> = None;
    let mut values: Vec<u8> = Vec::new();
    let mut shape = [source.tokens.len(), 0, 0];
    for rows in source.tokens.chunks(source.batch_size) {
        if stop.load(Ordering::Relaxed) {
            return Err(TrainingError::Interrupted);
        }
        // The last batch is filled up, so that GPU kernels are tuned for few shapes.
        let mut ids = rows.to_vec();
        ids.resize(source.batch_size, rows[0].clone());
        let (ids, mask) = source.padding.tensors(&TokenBatch { ids, pad_id }, device);
        let states = encoder.encode(ids, Some(mask.clone()));
        let latents = perceiver.compress(states, Some(mask)).cast(FloatDType::F32);
        let [_, count, dim] = latents.dims();
        shape = [shape[0], count, dim];
        let batch = latents
            .slice(0..rows.len())
            .try_into_vec_as::<f32>()
            .map_err(|error| TrainingError::Device(error.to_string()))?;
        statistics.get_or_insert_with(|| LatentStatisticsAccumulator::new(dim)).add_values(&batch);
        values.extend(batch.iter().flat_map(|value| value.to_le_bytes()));
        progress.inc(rows.len() as u64);
    }
    progress.finish_and_clear();
    let Some(statistics) = statistics else {
        return Err(TrainingError::setting("data", "there is no text to make latents of"));
    };
    let origin =
        Origin { fingerprint: source.fingerprint.clone(), statistics: statistics.finish()? };
    let origin = serde_json::to_string(&origin).expect("statistics are plain numbers");
    let metadata = [(ORIGIN.to_string(), origin)];
    let view = TensorView::new(Dtype::F32, shape.to_vec(), &values)
        .expect("the buffer holds four bytes for each of its numbers");
    let bytes = safetensors::serialize([("latents", view)], Some(metadata.into()))
        .expect("one whole tensor can be serialised");
    write_atomically(path, |file| file.write_all(&bytes))
        .map_err(TrainingError::file("write", path))
}

/// Where the latents of a split are kept.
pub fn cache_path(folder: &Path, split: &str) -> PathBuf {
    folder.join(format!("latents-{split}.safetensors"))
}
