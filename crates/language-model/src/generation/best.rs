//! The best ids of every row, without sorting all scores and without reading them all from the device.

use burn::tensor::{Int, Tensor, TensorData, Transaction};

use crate::LanguageModelError;

/// An id and its score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub id: u32,
    pub score: f32,
}

/// The `count` best ids of every row of `scores` `[rows, vocabulary]`, best first, equal ones in the
/// order of their ids; fewer if the vocabulary is smaller.
///
/// The scores are cut into blocks. The `count` best ids lie in the `count` blocks with the largest
/// maxima, and only these are read.
pub(super) fn best_of_rows(
    scores: Tensor<2>,
    count: usize,
) -> Result<Vec<Vec<Candidate>>, LanguageModelError> {
    let [rows, vocabulary] = scores.dims();
    let width = block_width(vocabulary);
    let blocks = vocabulary.div_ceil(width);
    let kept = count.min(blocks);
    let scores = fill_up(scores, blocks * width).reshape([rows, blocks, width]);
    let largest = scores.clone().max_dim(2).reshape([rows, blocks]);
    let (_, chosen) = largest.topk_with_indices(kept, 1);
    let first_blocks = Tensor::<1, Int>::arange(0..rows as i64, &chosen.device()) * blocks as i64;
    let places = (chosen.clone() + first_blocks.unsqueeze_dim(1)).reshape([rows * kept]);
    let values = scores.reshape([rows * blocks, width]).select(0, places);

    let (values, chosen) = read_both(values, chosen)?;
    let of_row = |(values, chosen): (&[f32], &[usize])| {
        let ids = chosen.iter().flat_map(|block| block * width..(block + 1) * width);
        let candidates = ids.zip(values).filter(|&(id, _)| id < vocabulary);
        best(candidates.map(|(id, &score)| Candidate { id: id as u32, score }).collect(), count)
    };
    Ok(values.chunks(kept * width).zip(chosen.chunks(kept)).map(of_row).collect())
}

fn best(mut candidates: Vec<Candidate>, count: usize) -> Vec<Candidate> {
    let order = |a: &Candidate, b: &Candidate| b.score.total_cmp(&a.score).then(a.id.cmp(&b.id));
    if count < candidates.len() {
        candidates.select_nth_unstable_by(count, order);
        candidates.truncate(count);
    }
    candidates.sort_unstable_by(order);
    candidates
}

/// A divisor of the vocabulary if it has one near the root, which makes the number of blocks and
/// their width alike; else the root.
fn block_width(vocabulary: usize) -> usize {
    let root = vocabulary.isqrt().max(1);
    let divisor =
        (root / 8..=root).rev().find(|&width| width > 0 && vocabulary.is_multiple_of(width));
    divisor.unwrap_or(root)
}

/// Fills rows up to `width` with the least score.
fn fill_up(scores: Tensor<2>, width: usize) -> Tensor<2> {
    let [rows, vocabulary] = scores.dims();
    if vocabulary == width {
        return scores;
    }
    let filling =
        Tensor::full([rows, width - vocabulary], f32::MIN, (&scores.device(), scores.dtype()));
    Tensor::cat(vec![scores, filling], 1)
}

/// The logarithm of the sum of the exponentials of every row: `[rows, 1]`.
pub(super) fn logsumexp(scores: Tensor<2>) -> Tensor<2> {
    let largest = scores.clone().max_dim(1);
    (scores - largest.clone()).exp().sum_dim(1).log() + largest
}

/// Two tensors in one reading from the device, row by row.
pub(super) fn read_both(
    values: Tensor<2>,
    indices: Tensor<2, Int>,
) -> Result<(Vec<f32>, Vec<usize>), LanguageModelError> {
    let data = Transaction::default().register(values).register(indices).try_execute();
    let data = data.map_err(|error| LanguageModelError::Device { source: error.into() })?;
    let [values, indices]: [TensorData; 2] =
        data.try_into().expect("a transaction gives one result for each tensor");
    let values = values
        .try_into_vec_as::<f32>()
        .map_err(|error| LanguageModelError::Device { source: error.into() })?;
    Ok((values, indices.iter::<i64>().map(|index| index as usize).collect()))
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution, Tensor};

    use super::best_of_rows;

    #[test]
    fn the_best_of_a_row_are_those_of_a_sort() {
        let device = Device::default();
        device.seed(7);
        // A prime, a square, a number with divisors far from its root, and fewer than are asked for.
        for vocabulary in [1009, 256, 2 * 503, 5, 1] {
            let scores = Tensor::<2>::random([7, vocabulary], Distribution::Default, &device);
            let values = scores.clone().try_into_vec_as::<f32>().unwrap();
            let found = best_of_rows(scores, 9).unwrap();
            assert_eq!(found.len(), 7);
            for (row, found) in values.chunks(vocabulary).zip(found) {
                let mut sorted: Vec<(u32, f32)> = (0..).zip(row.iter().copied()).collect();
                sorted.sort_by(|a, b| b.1.total_cmp(&a.1));
                sorted.truncate(9);
                let found: Vec<_> = found.iter().map(|best| (best.id, best.score)).collect();
                assert_eq!(found, sorted, "{vocabulary}");
            }
        }
    }

    #[test]
    fn equal_scores_come_in_the_order_of_their_ids() {
        let scores = Tensor::<2>::zeros([1, 12], &Device::default());
        let ids: Vec<u32> =
            best_of_rows(scores, 3).unwrap()[0].iter().map(|best| best.id).collect();
        assert!(ids.is_sorted(), "{ids:?}");
    }
}
