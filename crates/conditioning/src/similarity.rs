use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::tokenizer_13a::tokens_13a;

const BLEU_ORDER: usize = 4;

/// How like another text a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Similarity {
    /// F score of ROUGE-2 without stemming, from 0 to 1, as `rouge-score` 0.1.2 computes it.
    Rouge2,
    /// Sentence BLEU with effective order, from 0 to 100, as `sacrebleu` 2.6.0 computes it: tokenizer
    /// 13a, exponential smoothing.
    Bleu,
}

impl Similarity {
    /// The similarity of a candidate to a reference.
    pub fn of(self, candidate: &str, reference: &str) -> f64 {
        match self {
            Self::Rouge2 => rouge_2(candidate, reference),
            Self::Bleu => sentence_bleu(candidate, reference),
        }
    }
}

fn rouge_2(candidate: &str, reference: &str) -> f64 {
    let (candidate, reference) = (candidate.to_lowercase(), reference.to_lowercase());
    let Overlap { shared, candidate, reference } =
        overlap(&words(&candidate), &words(&reference), 2);
    if shared == 0 {
        return 0.0;
    }
    let precision = shared as f64 / candidate as f64;
    let recall = shared as f64 / reference as f64;
    2.0 * precision * recall / (precision + recall)
}

/// The runs of `a` to `z` and digits.
fn words(text: &str) -> Vec<&str> {
    let between = |c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit());
    text.split(between).filter(|word| !word.is_empty()).collect()
}

fn sentence_bleu(candidate: &str, reference: &str) -> f64 {
    let (candidate, reference) = (tokens_13a(candidate), tokens_13a(reference));
    let overlaps: Vec<Overlap> = (1..=BLEU_ORDER)
        .map(|order| overlap(&candidate, &reference, order))
        // Orders that the candidate is too short for do not count.
        .take_while(|overlap| overlap.candidate > 0)
        .collect();
    if overlaps.iter().all(|overlap| overlap.shared == 0) {
        return 0.0;
    }
    let mut smoothing = 1.0;
    let log_precisions = overlaps.iter().map(|overlap| {
        let shared = if overlap.shared == 0 {
            smoothing *= 0.5;
            smoothing
        } else {
            overlap.shared as f64
        };
        (shared / overlap.candidate as f64).ln()
    });
    let mean = log_precisions.sum::<f64>() / overlaps.len() as f64;
    let too_short = (1.0 - reference.len() as f64 / candidate.len() as f64).min(0.0);
    100.0 * (mean + too_short).exp()
}

/// How many runs of some tokens two texts share, with repeats, and how many each has.
struct Overlap {
    shared: usize,
    candidate: usize,
    reference: usize,
}

fn overlap<T: AsRef<str>>(candidate: &[T], reference: &[T], order: usize) -> Overlap {
    let counts = |tokens: &[T]| {
        let mut counts: HashMap<Vec<String>, usize> = HashMap::new();
        for run in tokens.windows(order) {
            let run = run.iter().map(|token| token.as_ref().to_string()).collect();
            *counts.entry(run).or_default() += 1;
        }
        counts
    };
    let (of_candidate, of_reference) = (counts(candidate), counts(reference));
    let shared = of_candidate.iter().map(|(run, &count)| {
        let there = of_reference.get(run).copied().unwrap_or(0);
        count.min(there)
    });
    Overlap {
        shared: shared.sum(),
        candidate: of_candidate.values().sum(),
        reference: of_reference.values().sum(),
    }
}
