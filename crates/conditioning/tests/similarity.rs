//! Similarities and the minimum-Bayes-risk choice against `rouge-score` and `sacrebleu`, whose answers
//! `fixtures/make_similarities.py` wrote.

use latent_text_conditioning::{Similarity, best_of, minimum_bayes_risk};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    pairs: Vec<Pair>,
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Pair {
    candidate: String,
    reference: String,
    rouge2: f64,
    bleu: f64,
}

#[derive(Deserialize)]
struct Choice {
    candidates: Vec<String>,
    rouge2: Scores,
    bleu: Scores,
}

#[derive(Deserialize)]
struct Scores {
    scores: Vec<f64>,
    best: usize,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("fixtures/similarities.json")).unwrap()
}

#[test]
fn rouge_2_and_bleu_are_those_of_the_reference() {
    let pairs = fixture().pairs;
    assert!(pairs.len() > 1000);
    for Pair { candidate, reference, rouge2, bleu } in pairs {
        for (similarity, expected) in [(Similarity::Rouge2, rouge2), (Similarity::Bleu, bleu)] {
            let found = similarity.of(&candidate, &reference);
            assert!(
                (found - expected).abs() < 1e-9,
                "{similarity:?} of {candidate:?} to {reference:?}: {found}, expected {expected}"
            );
        }
    }
}

#[test]
fn minimum_bayes_risk_chooses_as_the_reference() {
    for Choice { candidates, rouge2, bleu } in fixture().choices {
        for (similarity, expected) in [(Similarity::Rouge2, rouge2), (Similarity::Bleu, bleu)] {
            let scores = minimum_bayes_risk(&candidates, |one, other| similarity.of(one, other));
            assert_eq!(scores.len(), expected.scores.len());
            for (found, expected) in scores.iter().zip(&expected.scores) {
                assert!((found - expected).abs() < 1e-9, "{candidates:?}: {found}, {expected}");
            }
            assert_eq!(best_of(&scores), Some(expected.best), "{similarity:?} of {candidates:?}");
        }
    }
}

#[test]
fn every_candidate_is_compared_with_all_others_as_references() {
    let mut pairs = Vec::new();
    let scores = minimum_bayes_risk(&["a", "b", "c"], |candidate, reference| {
        pairs.push(format!("{candidate}{reference}"));
        pairs.len() as f64
    });
    assert_eq!(pairs, ["ab", "ac", "ba", "bc", "ca", "cb"]);
    assert_eq!(scores, [3.0, 7.0, 11.0]);
    assert_eq!(minimum_bayes_risk(&["alone"], |_, _| panic!("there is no other")), [0.0]);
    assert!(minimum_bayes_risk(&[] as &[&str], |_, _| 1.0).is_empty());
}

#[test]
fn the_first_of_the_best_is_chosen_and_what_is_no_number_is_not() {
    assert_eq!(best_of(&[]), None);
    assert_eq!(best_of(&[1.0, 3.0, 3.0, 2.0]), Some(1));
    assert_eq!(best_of(&[f64::NAN, -1.0, f64::NAN]), Some(1));
    assert_eq!(best_of(&[2.0, f64::NAN, 1.0]), Some(0));
    assert_eq!(best_of(&[f64::NEG_INFINITY, f64::NAN]), Some(0));
    assert_eq!(best_of(&[f64::NAN, f64::NAN]), Some(0));
}

#[test]
fn similarities_have_names_in_files() {
    for (similarity, name) in [(Similarity::Rouge2, "\"rouge2\""), (Similarity::Bleu, "\"bleu\"")] {
        assert_eq!(serde_json::to_string(&similarity).unwrap(), name);
        assert_eq!(serde_json::from_str::<Similarity>(name).unwrap(), similarity);
    }
}
