use std::fs;
use std::path::Path;

use assert_cmd::Command;
use latent_text::diffusion::SamplerKind;

use crate::support::{assert_mentions, example, files, refused, succeeded};

fn samplers(output: &Path) -> Command {
    let mut command = example("samplers");
    command.args(["--points", "20", "--seed", "3", "--output"]).arg(output);
    command
}

#[test]
fn every_sampler_is_measured_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("new/pictures");
    let (table, _) = succeeded(&mut samplers(&output));
    let written = files(&output);
    let names: Vec<_> = written.keys().map(|path| path.display().to_string()).collect();
    assert_eq!(names, ["error.svg", "trajectories.svg"]);
    for kind in SamplerKind::ALL {
        let row = table.lines().find(|line| line.split_whitespace().next() == Some(kind.name()));
        let row = row.unwrap_or_else(|| panic!("no row for {kind}: {table}"));
        // Name, process, errors at five numbers of calls, and a slope or a dash.
        let cells: Vec<&str> = row.split_whitespace().skip(2).collect();
        assert_eq!(cells.len(), 6, "{row}");
        let errors = cells[..5].iter().map(|cell| cell.parse().unwrap());
        assert!(errors.clone().all(|error: f64| error > 0.0 && error.is_finite()), "{row}");
        for name in &names {
            let svg = fs::read_to_string(output.join(name)).unwrap();
            assert!(svg.contains(kind.name()), "{kind} is not in {name}");
        }
    }
}

#[test]
fn a_seed_gives_the_same_files() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
    let tables = [&one, &two].map(|output| succeeded(&mut samplers(output)).0);
    assert_eq!(tables[0], tables[1]);
    assert_eq!(files(&one), files(&two));
}

#[test]
fn more_calls_come_nearer_to_the_exact_flow() {
    let folder = tempfile::tempdir().unwrap();
    let (table, _) = succeeded(&mut samplers(folder.path()));
    let slope_of = |sampler: &str| -> f64 {
        let row = table.lines().find(|line| line.starts_with(sampler)).unwrap();
        row.split_whitespace().last().unwrap().parse().unwrap()
    };
    // Fitted over few samples and calls, where a method is still far from its order.
    assert!(slope_of("ddim ") < -0.6, "{table}");
    assert!(slope_of("flow_heun ") < -1.5, "{table}");
    assert!(slope_of("dpmpp2m ") < -1.2, "{table}");
}

#[test]
fn wrong_usage_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    refused(samplers(folder.path()).args(["--points", "1"]), 2);
    refused(samplers(folder.path()).args(["--spacing", "odd"]), 2);
    refused(samplers(folder.path()).arg("--steps=3"), 2);
    assert!(files(folder.path()).is_empty());
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("taken");
    fs::write(&file, "kept").unwrap();
    let message = refused(&mut samplers(&file), 1);
    assert_mentions(&message, &["taken"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
}
