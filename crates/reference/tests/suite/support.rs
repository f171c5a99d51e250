//! The fixtures, unpacked, and what the tests compare with.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};
use flate2::read::GzDecoder;
use latent_text_denoiser::{Conditions, NetworkTime, SelfCondition};
use latent_text_generation::{Generated, LatentText, Request};
use latent_text_nn::weights::TensorFile;
use latent_text_reference::{Converted, Part, ReferenceError, ReferenceModel};
use serde_json::{Map, Value};
use tempfile::TempDir;

pub const TEXTS: [&str; 2] =
    ["The cat walked slowly.", "A garden, a river and the old house: never again, friend!"];
pub const SOURCE: &str = "Mother found a picture.";

/// Ten times what a faithful implementation in f32 is off.
pub const TOLERANCE: f32 = 2e-5;

fn fixtures() -> PathBuf {
    // Read when the test runs: checkouts may share one target folder.
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("tests/fixtures")
}

/// Copies of fixtures that may be changed.
pub struct Runs(TempDir);

impl Runs {
    pub fn new(names: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            unpack(&fixtures().join(name), &folder.path().join(name));
        }
        Self(folder)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The model of the run `name`, over BART and the autoencoder of the run `autoencoder`.
    pub fn model(&self, name: &str, autoencoder: &str) -> ReferenceModel {
        ReferenceModel {
            autoencoder: Some(self.path(autoencoder).join("autoencoder")),
            head_dim: 8,
            ..ReferenceModel::new(self.path(name).join("diffusion"), self.path("bart"))
        }
    }

    /// Changes the arguments of a run.
    pub fn edit(&self, run: &str, edit: impl FnOnce(&mut Map<String, Value>)) {
        let path = self.path(run).join("args.json");
        let mut entries = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        edit(&mut entries);
        fs::write(path, serde_json::to_vec(&entries).unwrap()).unwrap();
    }

    /// Replaces a text of a file by another of the same length, wherever it is.
    #[track_caller]
    pub fn replace(&self, file: &str, old: &str, new: &str) {
        self.replace_bytes(file, old.as_bytes(), new.as_bytes());
    }

    /// Replaces bytes of a file by as many others, wherever they are.
    #[track_caller]
    pub fn replace_bytes(&self, file: &str, old: &[u8], new: &[u8]) {
        assert_eq!(old.len(), new.len());
        let path = self.path(file);
        let mut bytes = fs::read(&path).unwrap();
        let found = |(place, window): (usize, &[u8])| (window == old).then_some(place);
        let places: Vec<usize> = bytes.windows(old.len()).enumerate().filter_map(found).collect();
        assert!(!places.is_empty(), "{file} does not have what is to be replaced");
        for place in places {
            bytes[place..place + new.len()].copy_from_slice(new);
        }
        fs::write(path, bytes).unwrap();
    }
}

fn unpack(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if path.is_dir() {
            unpack(&path, &to.join(&name));
        } else if let Some(name) = name.strip_suffix(".gz") {
            let mut bytes = Vec::new();
            let file = fs::File::open(&path).unwrap();
            GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
            fs::write(to.join(name), bytes).unwrap();
        } else {
            fs::copy(&path, to.join(&name)).unwrap();
        }
    }
}

/// The model and the parts that it was read from, in order.
#[track_caller]
pub fn load(model: &ReferenceModel) -> (Converted, Vec<Part>) {
    let mut parts = Vec::new();
    match model.load(&Device::default(), |part| parts.push(part)) {
        Ok(converted) => (converted, parts),
        Err(error) => panic!("{error:?}"),
    }
}

/// The error of a model that can't be read, and its causes.
#[track_caller]
pub fn refusal(model: &ReferenceModel) -> (ReferenceError, String) {
    let error = model.load(&Device::default(), |_| {}).err().expect("it was read");
    let mut message = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        message.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    (error, message)
}

#[track_caller]
pub fn assert_refused(model: &ReferenceModel, parts: &[&str]) {
    let (_, message) = refusal(model);
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

/// The numbers of a fixture.
pub struct Expected(TensorFile);

impl Expected {
    pub fn open(name: &str) -> Self {
        Self(TensorFile::open(&fixtures().join(format!("{name}.safetensors"))).unwrap())
    }

    pub fn floats<const D: usize>(&self, name: &str) -> Tensor<D> {
        self.0.tensor(name, &Device::default()).unwrap()
    }

    pub fn ints(&self, name: &str) -> Vec<i64> {
        let values = self.0.ints::<1>(name, &Device::default()).unwrap();
        values.try_into_vec_as::<i64>().unwrap()
    }

    pub fn estimate(&self) -> Option<SelfCondition> {
        Some(SelfCondition { estimate: self.floats("estimate"), present: None })
    }

    /// What the model's denoiser makes of the inputs.
    pub fn denoise(&self, model: &LatentText, conditions: Conditions) -> Tensor<3> {
        let time = NetworkTime { alpha: self.floats("alpha"), step: None };
        model.denoiser.forward(self.floats("z"), time, conditions)
    }
}

/// The texts that `transformers` writes for the latents of [`TEXTS`].
pub fn written_texts(name: &str) -> Vec<String> {
    let text = fs::read(fixtures().join("texts.json")).unwrap();
    let mut all: BTreeMap<String, Vec<String>> = serde_json::from_slice(&text).unwrap();
    all.remove(name).unwrap()
}

#[track_caller]
pub fn assert_close<const D: usize>(what: &str, found: Tensor<D>, expected: Tensor<D>) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let error: f32 = (found - expected).abs().max().into_scalar();
    println!("{what}: largest error {error:e}");
    assert!(error < TOLERANCE, "{what}: {error}");
}

pub fn generate(model: &LatentText, request: &Request) -> Vec<Generated> {
    let texts = model.generate(request, |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(texts.len(), request.count);
    texts
}
