//! Dropping conditions for training.

use burn::tensor::Device;
use latent_text_conditioning::{kept_per_sample, present};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

#[test]
fn samples_are_dropped_one_by_one_at_the_asked_rate() {
    let draw = |seed| kept_per_sample(20_000, 0.1, &mut ChaCha8Rng::seed_from_u64(seed));
    let kept = draw(1);
    let dropped = kept.iter().filter(|kept| !**kept).count();
    // 2,000 expected, with a standard deviation of 42.
    assert!((1850..2150).contains(&dropped), "{dropped}");
    // Neighbours are independent: both are dropped with 0.01, 200 times, standard deviation 14.
    let both = kept.windows(2).filter(|pair| !pair[0] && !pair[1]).count();
    assert!((140..260).contains(&both), "{both}");
    assert_eq!(draw(1), kept);
    assert_ne!(draw(2), kept);
}

#[test]
fn the_probabilities_0_and_1_are_exact() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    assert!(kept_per_sample(1000, 0.0, &mut rng).into_iter().all(|kept| kept));
    assert!(kept_per_sample(1000, 1.0, &mut rng).into_iter().all(|kept| !kept));
}

#[test]
fn the_tensor_says_who_has_a_source() {
    let tensor = present(&[true, false, true], &Device::default());
    assert_eq!(tensor.int().try_into_vec_as::<i64>().unwrap(), [1, 0, 1]);
}
