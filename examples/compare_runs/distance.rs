//! How far apart the losses of runs are.

use crate::run::{Loss, Run};

/// The first part of a training, which is left out: there the loss falls so fast that a step sooner or
/// later is a large difference.
const LEFT_OUT: f64 = 0.1;

/// Differences between the losses of pairs of runs at the same steps, as parts of the losses.
#[derive(Debug, Default, PartialEq)]
pub struct Distance {
    pub mean: f64,
    pub largest: f64,
    /// Between the last losses, the largest of all pairs.
    pub at_the_end: f64,
}

/// Between runs of one setting, which differ in their seeds; none if there is one run of each.
pub fn between_seeds(runs: &[&Run], loss: Loss) -> Option<Distance> {
    between(runs, loss, |a, b| a.setting == b.setting)
}

/// Between runs of different settings, each with the one of the same number; none if there is one setting.
pub fn between_settings(runs: &[&Run], loss: Loss) -> Option<Distance> {
    between(runs, loss, |a, b| a.setting != b.setting && a.number == b.number)
}

fn between(runs: &[&Run], loss: Loss, belong: impl Fn(&Run, &Run) -> bool) -> Option<Distance> {
    let mut all = Vec::new();
    let mut at_the_end = 0.0_f64;
    for (index, a) in runs.iter().enumerate() {
        for b in runs[index + 1..].iter().filter(|b| belong(a, b)) {
            let differences = differences(a, b, loss);
            at_the_end = at_the_end.max(differences.last().copied().unwrap_or(0.0));
            all.extend(differences);
        }
    }
    let largest = all.iter().copied().reduce(f64::max)?;
    Some(Distance { mean: all.iter().sum::<f64>() / all.len() as f64, largest, at_the_end })
}

/// At each step that both runs have a loss of.
fn differences(a: &Run, b: &Run, loss: Loss) -> Vec<f64> {
    let from = (LEFT_OUT * a.last(loss).0 as f64) as u64;
    let counted = a.curve(loss).iter().filter(|point| point.0 > from);
    let pairs = counted.filter_map(|&(step, ours)| {
        let at = b.curve(loss).binary_search_by_key(&step, |point| point.0).ok()?;
        Some((ours, b.curve(loss)[at].1))
    });
    pairs.map(|(ours, theirs)| (ours - theirs).abs() / (0.5 * (ours + theirs).abs())).collect()
}
