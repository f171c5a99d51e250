//! The order in which samples are drawn, and the generators of a training.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// The order in which a training set is drawn: a new permutation each epoch, cut into batches.
///
/// Batch number `k` is a function of the seed and `k` alone, so a data position is one number and a
/// resumed run draws what the uninterrupted one would have drawn. Samples left over at the end of an
/// epoch are dropped from it.
#[derive(Clone, Copy, Debug)]
pub struct BatchOrder {
    samples: usize,
    batch_size: usize,
    seed: u64,
}

impl BatchOrder {
    /// An order over `samples` samples.
    ///
    /// A batch is never larger than the set.
    pub fn new(samples: usize, batch_size: usize, seed: u64) -> Self {
        Self { samples, batch_size: batch_size.min(samples).max(1), seed }
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
            permutation.indices = (0..self.samples).collect();
            permutation.indices.shuffle(&mut generator(self.seed, epoch));
            permutation.epoch = Some(epoch);
        }
        let start = (batch % self.batches_per_epoch()) as usize * self.batch_size;
        &permutation.indices[start..start + self.batch_size]
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
