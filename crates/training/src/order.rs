//! The order in which samples are drawn, and the generators of a training.

use std::sync::Arc;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// The order in which a training set is drawn: a new permutation each epoch, cut into batches.
///
/// Batch number `k` is a function of the seed and `k` alone, so a data position is one number and a
/// resumed run draws what the uninterrupted one would have drawn. Samples left over at the end of an
/// epoch are dropped from it.
#[derive(Clone, Debug)]
pub struct BatchOrder {
    samples: usize,
    batch_size: usize,
    seed: u64,
    lengths: Option<Arc<[usize]>>,
}

/// Batches whose samples are sorted by length together.
const BATCHES_SORTED: usize = 32;

impl BatchOrder {
    /// An order over `samples` samples.
    ///
    /// A batch is never larger than the set.
    pub fn new(samples: usize, batch_size: usize, seed: u64) -> Self {
        Self { samples, batch_size: batch_size.min(samples).max(1), seed, lengths: None }
    }

    /// The same order, but with samples of similar length in a batch, so that little is padded.
    ///
    /// # Panics
    /// If there is not one length for each sample.
    pub fn by_length(mut self, lengths: impl Into<Arc<[usize]>>) -> Self {
        let lengths = lengths.into();
        assert_eq!(lengths.len(), self.samples, "one length for each sample");
        self.lengths = Some(lengths);
        self
    }

    /// Samples in each batch.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// The epoch in which batch `batch` lies, counted from 0.
    pub fn epoch(&self, batch: u64) -> u64 {
        batch / self.batches_per_epoch()
    }

    /// The indices of the samples in batch `batch`; `permutation` keeps the epoch's permutation from
    /// one call to the next.
    pub fn indices<'a>(&self, batch: u64, permutation: &'a mut EpochPermutation) -> &'a [usize] {
        let epoch = self.epoch(batch);
        if permutation.epoch != Some(epoch) {
            permutation.indices = self.permutation(epoch);
            permutation.epoch = Some(epoch);
        }
        let start = (batch % self.batches_per_epoch()) as usize * self.batch_size;
        &permutation.indices[start..start + self.batch_size]
    }

    fn permutation(&self, epoch: u64) -> Vec<usize> {
        let mut rng = generator(self.seed, epoch);
        let mut indices: Vec<usize> = (0..self.samples).collect();
        indices.shuffle(&mut rng);
        // Before sorting, or the longest texts would always be the ones left over.
        indices.truncate(self.batches_per_epoch() as usize * self.batch_size);
        let Some(lengths) = &self.lengths else { return indices };
        for pool in indices.chunks_mut(self.batch_size * BATCHES_SORTED) {
            pool.sort_by_key(|&index| lengths[index]);
        }
        let mut batches: Vec<&[usize]> = indices.chunks(self.batch_size).collect();
        batches.shuffle(&mut rng);
        batches.concat()
    }

    fn batches_per_epoch(&self) -> u64 {
        (self.samples / self.batch_size).max(1) as u64
    }
}

/// The permutation of one epoch.
#[derive(Clone, Debug, Default)]
pub struct EpochPermutation {
    epoch: Option<u64>,
    indices: Vec<usize>,
}

/// The generator for draw number `index` of the stream `seed`.
pub fn generator(seed: u64, index: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(index);
    rng
}
