//! Lengths: counting, drawing, files, masks.

use burn::tensor::Device;
use latent_text_conditioning::{ConditioningError, LengthDistribution, length_mask};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

fn distribution() -> LengthDistribution {
    LengthDistribution::from_lengths([2, 5, 5, 2, 5, 5, 5, 2, 5, 6], 7).unwrap()
}

#[test]
fn lengths_are_counted() {
    let distribution = distribution();
    assert_eq!(distribution.counts(), [0, 3, 0, 0, 6, 1, 0]);
    assert_eq!(distribution.max(), 7);
    let probabilities: Vec<f64> = (0..=8).map(|length| distribution.probability(length)).collect();
    assert_eq!(probabilities, [0.0, 0.0, 0.3, 0.0, 0.0, 0.6, 0.1, 0.0, 0.0]);
}

#[test]
fn lengths_are_drawn_as_often_as_they_were_counted() {
    let distribution = distribution();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut counts = [0; 9];
    for _ in 0..20_000 {
        counts[distribution.draw(&mut rng)] += 1;
    }
    for (length, &count) in counts.iter().enumerate() {
        let expected = 20_000.0 * distribution.probability(length);
        // Three standard deviations of the likeliest length are 208.
        let tolerance = if expected == 0.0 { 0.0 } else { 210.0 };
        assert!((f64::from(count) - expected).abs() <= tolerance, "length {length}: {count}");
    }
}

#[test]
fn draws_are_the_generators() {
    let draws = |seed| -> Vec<usize> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..50).map(|_| distribution().draw(&mut rng)).collect()
    };
    assert_eq!(draws(3), draws(3));
    assert_ne!(draws(3), draws(4));
}

#[test]
fn the_only_length_is_always_drawn() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for place in 0..4 {
        let mut counts = vec![0; 4];
        counts[place] = u64::MAX;
        let distribution = LengthDistribution::from_counts(counts).unwrap();
        assert!((0..20).all(|_| distribution.draw(&mut rng) == place + 1));
    }
}

#[test]
fn senseless_counts_are_refused() {
    for counts in [vec![], vec![0, 0], vec![u64::MAX, 1]] {
        let refused = LengthDistribution::from_counts(counts.clone());
        assert!(matches!(refused, Err(ConditioningError::Lengths { .. })), "{counts:?}");
    }
    for (length, index) in [(0, 1), (8, 1)] {
        let refused = LengthDistribution::from_lengths([7, length], 7);
        match refused {
            Err(ConditioningError::LengthRange { index: i, length: l, max: 7 }) => {
                assert_eq!((i, l), (index, length));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn files_hold_the_counts_and_are_checked() {
    let text = serde_json::to_string(&distribution()).unwrap();
    assert_eq!(text, r#"{"counts":[0,3,0,0,6,1,0]}"#);
    assert_eq!(serde_json::from_str::<LengthDistribution>(&text).unwrap(), distribution());
    for text in [r#"{"counts":[0]}"#, r#"{"counts":[-1]}"#, r#"{"counts":[1],"max":1}"#, "{}"] {
        assert!(serde_json::from_str::<LengthDistribution>(text).is_err(), "{text}");
    }
}

#[test]
fn a_mask_is_real_up_to_the_length() {
    let device = Device::default();
    let mask = length_mask(&[1, 3, 4], 4, &device).unwrap();
    assert_eq!(mask.dims(), [3, 4]);
    let real = mask.int().try_into_vec_as::<i64>().unwrap();
    assert_eq!(real, [1, 0, 0, 0, 1, 1, 1, 0, 1, 1, 1, 1]);
    for length in [0, 5] {
        let message = length_mask(&[2, length], 4, &device).unwrap_err().to_string();
        assert!(message.contains(&format!("text 1 (counted from 0) can't have length {length}")));
        assert!(message.contains("1..=4"), "{message}");
    }
}
