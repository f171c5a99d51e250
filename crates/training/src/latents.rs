//! The latents of a text set, computed once and kept on disk.

mod cache;

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use latent_text_autoencoder::{LatentStatistics, Latents};

use crate::padding::Padding;

pub use cache::{LatentSource, cache_path, cached_latents};

/// The latents of a set of texts on a device, with their classes.
pub struct LatentSet {
    store: Store,
    classes: Vec<usize>,
    statistics: LatentStatistics,
}

enum Store {
    /// Each text has as many latents: `[texts, latents * dim]`.
    Even { rows: Tensor<2>, shape: [usize; 3] },
    /// The latents of all texts one behind the other, without padding: `[vectors, dim]`.
    Varying { vectors: Tensor<2>, texts: Vec<Span>, padding: Padding },
}

/// Where a text's vectors are.
#[derive(Clone, Copy)]
struct Span {
    start: usize,
    length: usize,
}

impl LatentSet {
    /// Latents `[texts, latents, dim]`.
    fn even(latents: Tensor<3>, classes: Vec<usize>, statistics: LatentStatistics) -> Self {
        let shape = latents.dims();
        let rows = latents.reshape([shape[0], shape[1] * shape[2]]);
        Self { store: Store::Even { rows, shape }, classes, statistics }
    }

    /// Vectors `[sum of lengths, dim]`. Batches of them are padded as `padding` says, whose longest text
    /// is in latents.
    fn varying(
        vectors: Tensor<2>,
        lengths: &[usize],
        padding: Padding,
        classes: Vec<usize>,
        statistics: LatentStatistics,
    ) -> Self {
        let mut start = 0;
        let texts = lengths
            .iter()
            .map(|&length| {
                let span = Span { start, length };
                start += length;
                span
            })
            .collect();
        Self { store: Store::Varying { vectors, texts, padding }, classes, statistics }
    }

    /// How many texts.
    pub fn len(&self) -> usize {
        match &self.store {
            Store::Even { shape, .. } => shape[0],
            Store::Varying { texts, .. } => texts.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many latents a text has.
    ///
    /// # Panics
    /// If there is no such text.
    pub fn length(&self, text: usize) -> usize {
        match &self.store {
            Store::Even { shape, .. } => shape[1],
            Store::Varying { texts, .. } => texts[text].length,
        }
    }

    /// The class of each text, the null class for one without a label; empty without classes.
    pub fn classes(&self) -> &[usize] {
        &self.classes
    }

    /// Mean and scale over the real latents of the whole set.
    pub fn statistics(&self) -> &LatentStatistics {
        &self.statistics
    }

    /// The latents of these texts in f32, with a mask where their number varies. They are then padded
    /// with zeros to one of few lengths, for which GPU kernels are tuned.
    ///
    /// # Panics
    /// If there is no text, or no such text.
    pub fn select(&self, texts: &[i32]) -> Latents {
        match &self.store {
            Store::Even { rows, shape } => {
                let texts = ints(texts.to_vec(), &rows.device());
                let count = texts.dims()[0];
                rows.clone().select(0, texts).reshape([count, shape[1], shape[2]]).into()
            }
            Store::Varying { vectors, texts: all, padding } => {
                let spans: Vec<Span> = texts.iter().map(|&text| all[text as usize]).collect();
                select_spans(vectors, &spans, *padding)
            }
        }
    }

    /// Latents `[texts, latents, dim]` made elsewhere; their statistics are left empty.
    #[cfg(test)]
    pub(crate) fn of(latents: Tensor<3>, classes: Vec<usize>) -> Self {
        let mean = vec![0.0; latents.dims()[2]];
        Self::even(latents, classes, LatentStatistics { mean, scale: 1.0, count: 0 })
    }

    /// Latents in varying number, `[sum of lengths, dim]`, made elsewhere.
    #[cfg(test)]
    pub(crate) fn of_lengths(
        vectors: Tensor<2>,
        lengths: &[usize],
        padding: Padding,
        classes: Vec<usize>,
    ) -> Self {
        let mean = vec![0.0; vectors.dims()[1]];
        let statistics = LatentStatistics { mean, scale: 1.0, count: 0 };
        Self::varying(vectors, lengths, padding, classes, statistics)
    }

    /// The same set with latents of mean 0 and standard deviation 1 by the given statistics.
    pub fn normalised(mut self, statistics: &LatentStatistics) -> Self {
        self.store = match self.store {
            Store::Even { rows, shape } => {
                let rows = statistics.normalise(rows.reshape(shape));
                Store::Even { rows: rows.reshape([shape[0], shape[1] * shape[2]]), shape }
            }
            Store::Varying { vectors, texts, padding } => {
                let vectors = statistics.normalise(vectors.unsqueeze_dim(0)).squeeze_dim(0);
                Store::Varying { vectors, texts, padding }
            }
        };
        self
    }
}

fn select_spans(vectors: &Tensor<2>, spans: &[Span], padding: Padding) -> Latents {
    let (device, [_, dim]) = (vectors.device(), vectors.dims());
    let longest = spans.iter().map(|span| span.length).max().unwrap_or(0);
    let (rows, length) = (spans.len(), padding.length(longest));
    let places = || spans.iter().flat_map(|span| (0..length).map(move |place| (*span, place)));
    let real: Vec<bool> = places().map(|(span, place)| place < span.length).collect();
    let vector_at: Vec<i32> = places()
        .map(|(span, place)| if place < span.length { (span.start + place) as i32 } else { 0 })
        .collect();
    let mask = Tensor::<2, Bool>::from_data(TensorData::new(real, [rows, length]), &device);
    let values = vectors.clone().select(0, ints(vector_at, &device)).reshape([rows, length, dim]);
    let hidden = mask.clone().bool_not().unsqueeze_dim::<3>(2).expand([rows, length, dim]);
    Latents { values: values.mask_fill(hidden, 0.0), mask: Some(mask) }
}

fn ints(values: Vec<i32>, device: &Device) -> Tensor<1, Int> {
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}
