//! The figures, as text.

use crate::distance::{Distance, between_seeds, between_settings};
use crate::run::{Loss, Run};

/// Prints the last loss of each run, and how far apart the runs are.
pub fn print(title: &str, loss: Loss, runs: &[&Run]) {
    println!("{title}");
    for run in runs {
        let (step, last) = run.last(loss);
        println!("  {:<12} {last:.5} at step {step}", run.name());
    }
    for (name, distance) in [
        ("one setting, other seed", between_seeds(runs, loss)),
        ("same seed, other setting", between_settings(runs, loss)),
    ] {
        if let Some(Distance { mean, largest, at_the_end }) = distance {
            let [mean, largest, at_the_end] = [mean, largest, at_the_end].map(|part| 100.0 * part);
            println!(
                "  {name}: mean {mean:.2} %, largest {largest:.2} %, at the end {at_the_end:.2} %"
            );
        }
    }
}
