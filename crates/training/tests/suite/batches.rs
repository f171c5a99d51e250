use std::collections::HashSet;

use burn::tensor::Device;
use latent_text_language_model::TokenBatch;
use latent_text_training::Padding;
use latent_text_training::order::{BatchOrder, EpochPermutation, generator};
use rand::Rng;

fn batch(order: &BatchOrder, index: u64) -> Vec<usize> {
    order.indices(index, &mut EpochPermutation::default()).to_vec()
}

#[test]
fn an_epoch_visits_distinct_samples_and_drops_the_rest() {
    let order = BatchOrder::new(23, 5, 1);
    for epoch in 0..50 {
        let seen: Vec<usize> = (0..4).flat_map(|index| batch(&order, epoch * 4 + index)).collect();
        assert_eq!(seen.len(), 20);
        assert_eq!(seen.iter().collect::<HashSet<_>>().len(), 20, "epoch {epoch}: {seen:?}");
        assert!(seen.iter().all(|&sample| sample < 23));
        assert!((0..4).all(|index| order.epoch(epoch * 4 + index) == epoch));
    }
    // What one epoch drops, others do not.
    let seen: HashSet<usize> = (0..40).flat_map(|index| batch(&order, index)).collect();
    assert_eq!(seen.len(), 23);
}

#[test]
fn a_batch_does_not_depend_on_the_ones_before() {
    let order = BatchOrder::new(23, 5, 1);
    let mut permutation = EpochPermutation::default();
    let in_order: Vec<Vec<usize>> =
        (0..30).map(|index| order.indices(index, &mut permutation).to_vec()).collect();
    for index in [29, 3, 4, 0, 17, 17, 28] {
        assert_eq!(batch(&order, index), in_order[index as usize]);
        assert_eq!(order.indices(index, &mut permutation), in_order[index as usize]);
    }
}

#[test]
fn seeds_and_epochs_differ_in_their_order() {
    let order = BatchOrder::new(64, 64, 1);
    assert_ne!(batch(&order, 0), batch(&order, 1));
    assert_ne!(batch(&order, 0), batch(&BatchOrder::new(64, 64, 2), 0));
    assert_eq!(batch(&order, 0), batch(&BatchOrder::new(64, 64, 1), 0));
    assert_ne!(batch(&order, 0), (0..64).collect::<Vec<_>>());
}

#[test]
fn a_batch_is_never_larger_than_the_set() {
    let order = BatchOrder::new(3, 8, 1);
    assert_eq!(order.batch_size(), 3);
    for index in 0..5 {
        let mut samples = batch(&order, index);
        samples.sort();
        assert_eq!(samples, [0, 1, 2]);
        assert_eq!(order.epoch(index), index);
    }
}

#[test]
fn generators_differ_by_seed_and_draw() {
    let first: HashSet<u64> = (0..10)
        .flat_map(|seed| (0..10).map(move |draw| generator(seed, draw).next_u64()))
        .collect();
    assert_eq!(first.len(), 100);
    assert_eq!(generator(3, 4).next_u64(), generator(3, 4).next_u64());
}

/// 203 samples of random lengths up to 60, in batches of 8.
fn by_length() -> (BatchOrder, Vec<usize>) {
    let lengths: Vec<usize> =
        (0..203).map(|sample| generator(9, sample).next_u64() as usize % 60 + 1).collect();
    (BatchOrder::new(203, 8, 1).by_length(lengths.clone()), lengths)
}

#[test]
fn batches_by_length_visit_distinct_samples_and_leave_none_out_for_ever() {
    let (order, _) = by_length();
    let mut ever = HashSet::new();
    for epoch in 0..60 {
        let seen: HashSet<usize> =
            (0..25).flat_map(|index| batch(&order, epoch * 25 + index)).collect();
        assert_eq!(seen.len(), 200, "epoch {epoch}");
        ever.extend(seen);
    }
    assert_eq!(ever.len(), 203);
}

#[test]
fn batches_by_length_hold_similar_lengths_in_a_random_order() {
    let (order, lengths) = by_length();
    let longest = |index| batch(&order, index).iter().map(|&sample| lengths[sample]).max();
    let longest: Vec<usize> = (0..25).map(|index| longest(index).expect("samples")).collect();
    let padded = longest.iter().sum::<usize>() * 8;
    let least = lengths.iter().sum::<usize>();
    assert!(padded < least * 11 / 10, "{padded} tokens for {least}");
    assert!(!longest.is_sorted());
    let (order, mut permutation) = (by_length().0, EpochPermutation::default());
    for index in [30, 7, 24, 25, 7] {
        assert_eq!(order.indices(index, &mut permutation), batch(&order, index));
    }
    assert_ne!(batch(&order, 0), batch(&order, 25));
}

#[test]
fn batches_are_padded_to_a_multiple_or_the_longest_length() {
    let device = Device::default();
    let padding = Padding { max_tokens: 20, multiple: 8 };
    for (longest, length) in [(1, 8), (8, 8), (9, 16), (17, 20), (20, 20)] {
        let ids = vec![vec![5; longest], vec![6]];
        let (ids, mask) = padding.tensors(&TokenBatch { ids, pad_id: 1 }, &device);
        assert_eq!((ids.dims(), mask.dims()), ([2, length], [2, length]));
        let real: Vec<i64> = mask.int().sum_dim(1).try_into_vec_as::<i64>().expect("integers");
        assert_eq!(real, [longest as i64, 1]);
    }
}
