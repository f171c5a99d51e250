use burn::tensor::{Bool, Device, Tensor, TensorData};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::ConditioningError;

/// How long texts are: the share of every length from 1 to a longest one, as counted in a training set.
///
/// A diffusion over latents in varying number must know how many a text gets; see LD4LG, section 4.
/// Written as `{"counts": [..]}`, of which the first is the number of texts of length 1; what
/// [`from_counts`](Self::from_counts) refuses is refused in a file too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Counts", into = "Counts")]
pub struct LengthDistribution {
    counts: Vec<u64>,
    /// How many texts have this length or less.
    cumulative: Vec<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Counts {
    counts: Vec<u64>,
}

impl TryFrom<Counts> for LengthDistribution {
    type Error = ConditioningError;

    fn try_from(counts: Counts) -> Result<Self, ConditioningError> {
        Self::from_counts(counts.counts)
    }
}

impl From<LengthDistribution> for Counts {
    fn from(distribution: LengthDistribution) -> Self {
        Self { counts: distribution.counts }
    }
}

impl LengthDistribution {
    /// From the number of texts of length 1, 2, ..
    ///
    /// # Errors
    /// [`ConditioningError::Lengths`] if there are no texts, or more than a `u64` counts.
    pub fn from_counts(counts: Vec<u64>) -> Result<Self, ConditioningError> {
        let refuse = |problem: &str| ConditioningError::Lengths { problem: problem.to_string() };
        let cumulative: Option<Vec<u64>> = counts
            .iter()
            .scan(Some(0_u64), |sum, &count| {
                *sum = sum.and_then(|sum| sum.checked_add(count));
                Some(*sum)
            })
            .collect();
        let cumulative =
            cumulative.ok_or_else(|| refuse("the counts are too large to be added"))?;
        if cumulative.last().is_none_or(|&texts| texts == 0) {
            return Err(refuse("the counts hold no text"));
        }
        Ok(Self { counts, cumulative })
    }

    /// From the lengths of all texts, each in `1..=max`.
    ///
    /// # Errors
    /// [`ConditioningError::LengthRange`] for a length outside of it, [`ConditioningError::Lengths`] if
    /// there are none.
    pub fn from_lengths(
        lengths: impl IntoIterator<Item = usize>,
        max: usize,
    ) -> Result<Self, ConditioningError> {
        let mut counts = vec![0; max];
        for (index, length) in lengths.into_iter().enumerate() {
            check_length(index, length, max)?;
            counts[length - 1] += 1;
        }
        Self::from_counts(counts)
    }

    /// The longest length that the distribution is over, drawn or not.
    pub fn max(&self) -> usize {
        self.counts.len()
    }

    /// The number of texts of length 1, 2, ..
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// The probability of a length.
    pub fn probability(&self, length: usize) -> f64 {
        let count = length.checked_sub(1).and_then(|place| self.counts.get(place));
        count.map_or(0.0, |&count| count as f64 / self.texts() as f64)
    }

    /// A length. Only lengths that were counted are drawn.
    pub fn draw(&self, rng: &mut (impl Rng + ?Sized)) -> usize {
        let text = rng.random_range(0..self.texts());
        self.cumulative.partition_point(|&texts| texts <= text) + 1
    }

    fn texts(&self) -> u64 {
        self.cumulative[self.cumulative.len() - 1]
    }
}

/// Which of `max` places are real in texts of these lengths, `[batch, max]`: the first ones.
///
/// # Errors
/// [`ConditioningError::LengthRange`] for a length outside `1..=max`.
pub fn length_mask(
    lengths: &[usize],
    max: usize,
    device: &Device,
) -> Result<Tensor<2, Bool>, ConditioningError> {
    let mut real = Vec::with_capacity(lengths.len() * max);
    for (index, &length) in lengths.iter().enumerate() {
        check_length(index, length, max)?;
        real.extend((0..max).map(|place| place < length));
    }
    Ok(Tensor::from_data(TensorData::new(real, [lengths.len(), max]), device))
}

pub(crate) fn check_length(
    index: usize,
    length: usize,
    max: usize,
) -> Result<(), ConditioningError> {
    if (1..=max).contains(&length) {
        Ok(())
    } else {
        Err(ConditioningError::LengthRange { index, length, max })
    }
}
