//! What is drawn from, behind every processor.

use std::collections::HashMap;

use burn::tensor::{Device, Tensor, TensorData};
use latent_text_language_model::{GenerationConfig, next_token_distributions};
use serde::Deserialize;

use super::fixture::read;

#[derive(Deserialize)]
struct Distributions {
    eos: Vec<u32>,
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    logits: Vec<Vec<f32>>,
    previous: Vec<Vec<u32>>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    config: GenerationConfig,
    /// For every row of logits.
    rows: Vec<Vec<(u32, f64)>>,
}

#[test]
fn distributions_behind_the_processors_are_those_of_transformers() {
    let file: Distributions = read("distributions");
    let mut largest: f64 = 0.0;
    for group in &file.groups {
        let shape = [group.logits.len(), group.logits[0].len()];
        let logits = TensorData::new(group.logits.concat(), shape);
        let logits = Tensor::<2>::from_data(logits, &Device::default());
        for case in &group.cases {
            let found =
                next_token_distributions(logits.clone(), &group.previous, &case.config, &file.eos);
            let found = found.unwrap();
            assert_eq!(found.len(), case.rows.len());
            for (found, expected) in found.iter().zip(&case.rows) {
                let off = distance(found, expected);
                assert!(off.is_some(), "other ids than in {:?}", case.config);
                largest = largest.max(off.unwrap_or_default());
            }
        }
    }
    println!("probabilities off by up to {largest:e}");
    assert!(largest < 1e-5);
}

/// The largest difference of probabilities; none if other ids have one.
fn distance(found: &[(u32, f64)], expected: &[(u32, f64)]) -> Option<f64> {
    // In f32 what is less probable can come out as 0.
    const SMALLEST: f64 = 1e-6;
    let [found, expected] =
        [found, expected].map(|ids| ids.iter().copied().collect::<HashMap<_, _>>());
    let known = |ids: &HashMap<u32, f64>, others: &HashMap<u32, f64>| {
        ids.iter().all(|(id, &probability)| probability < SMALLEST || others.contains_key(id))
    };
    let same = known(&found, &expected) && known(&expected, &found);
    let off = found.iter().map(|(id, p)| (p - expected.get(id).unwrap_or(&0.0)).abs());
    same.then(|| off.fold(0.0, f64::max))
}
