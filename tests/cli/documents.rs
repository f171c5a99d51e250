//! What the documents tell users to write is understood.

use std::fs;
use std::path::Path;

use latent_text::training::TrainingConfig;

use crate::support::root;

#[test]
fn the_example_configurations_are_understood() {
    for folder in ["", "precision", "research"].map(|name| Path::new("examples/configs").join(name))
    {
        let mut seen = 0;
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                TrainingConfig::from_file(&path).unwrap_or_else(|error| panic!("{error}"));
                seen += 1;
            }
        }
        assert!(seen > 0, "{}", folder.display());
    }
}

#[test]
fn the_readmes_configuration_is_understood() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, rest) = readme.split_once("```toml\n").expect("the README shows a configuration");
    let (config, _) = rest.split_once("```").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.toml");
    fs::write(&path, config).unwrap();
    TrainingConfig::from_file(&path).unwrap_or_else(|error| panic!("{error}"));
}
