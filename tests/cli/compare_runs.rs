use std::fs;
use std::path::{Path, PathBuf};

use latent_text::training::report::MetricsLog;

use crate::support::{assert_mentions, example, refused, succeeded};

/// The log of a run of 100 steps whose losses are `loss` but for the falling part at the start.
fn log(folder: &Path, name: &str, loss: f64) -> PathBuf {
    let path = folder.join(name);
    let mut log = MetricsLog::create(&path).unwrap();
    for step in 1..=100_u32 {
        let now = if step <= 5 { 10.0 / f64::from(step) } else { loss };
        log.write(step.into(), "diffusion", &[("loss", now)]).unwrap();
        if step.is_multiple_of(20) {
            log.write(step.into(), "diffusion", &[("validation_loss", 2.0 * now)]).unwrap();
        }
    }
    path
}

fn setting(name: &str, log: &Path) -> String {
    format!("{name}={}", log.display())
}

#[test]
fn the_distance_of_settings_stands_beside_that_of_seeds() {
    let folder = tempfile::tempdir().unwrap();
    let logs = [("f32", 0.50), ("f32", 0.51), ("bf16", 0.501), ("bf16", 0.51)];
    let runs: Vec<String> = logs
        .iter()
        .enumerate()
        .map(|(index, (name, loss))| setting(name, &log(folder.path(), &index.to_string(), *loss)))
        .collect();
    let svg = folder.path().join("losses.svg");
    let (table, _) = succeeded(example("compare_runs").args(runs).arg("--output").arg(&svg));
    let validation = table.split("diffusion: validation loss").nth(1).unwrap();
    assert_mentions(
        validation,
        &[
            "f32 2        1.02000 at step 100",
            "bf16 1       1.00200 at step 100",
            // Two pairs in each: .50 and .51, .501 and .51; .50 and .501, twice .51.
            "one setting, other seed: mean 1.88 %, largest 1.98 %, at the end 1.98 %",
            "same seed, other setting: mean 0.10 %, largest 0.20 %, at the end 0.20 %",
        ],
    );
    let drawn = fs::read_to_string(svg).unwrap();
    for name in ["diffusion: training loss", "diffusion: validation loss", "f32 1", "bf16 2"] {
        assert!(drawn.contains(name), "{name}");
    }
}

#[test]
fn wrong_usage_and_logs_without_losses_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let svg = folder.path().join("losses.svg");
    let compare =
        |run: &str, code| refused(example("compare_runs").arg(run).arg("--output").arg(&svg), code);
    compare("metrics.jsonl", 2);
    let missing = folder.path().join("missing.jsonl");
    assert_mentions(&compare(&setting("f32", &missing), 1), &["missing.jsonl"]);
    let empty = folder.path().join("empty.jsonl");
    fs::write(&empty, "").unwrap();
    assert_mentions(&compare(&setting("f32", &empty), 1), &["empty.jsonl", "no losses"]);
    assert!(!svg.exists());
}
