/// The score of each candidate of a minimum-Bayes-risk choice: the sum of its similarity to every other
/// one, which stands in for the unknown reference.
///
/// `similarity` gets a candidate and a reference, in this order.
///
/// ```
/// use latent_text_conditioning::{Similarity, best_of, minimum_bayes_risk};
///
/// let candidates = ["the mill is a pub", "a bus is late", "the mill is a cheap pub"];
/// let scores = minimum_bayes_risk(&candidates, |candidate, reference| {
///     Similarity::Rouge2.of(candidate, reference)
/// });
/// assert_eq!(best_of(&scores), Some(0));
/// ```
pub fn minimum_bayes_risk(
    candidates: &[impl AsRef<str>],
    mut similarity: impl FnMut(&str, &str) -> f64,
) -> Vec<f64> {
    let mut score = |chosen: usize| {
        let others = (0..candidates.len()).filter(|&other| other != chosen);
        others
            .map(|other| similarity(candidates[chosen].as_ref(), candidates[other].as_ref()))
            .sum()
    };
    (0..candidates.len()).map(&mut score).collect()
}

/// The place of the highest score, the first one of several; none without scores. A score that is not a
/// number is lower than all others.
pub fn best_of(scores: &[f64]) -> Option<usize> {
    let mut best = None;
    for (place, &score) in scores.iter().enumerate() {
        let beaten = best.is_none_or(|best: usize| {
            score > scores[best] || (scores[best].is_nan() && !score.is_nan())
        });
        if beaten {
            best = Some(place);
        }
    }
    best
}
