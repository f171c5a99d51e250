use std::path::{Path, PathBuf};

use burn::tensor::{Bool, Device, Int, Tensor};
use latent_text_nn::weights::TensorFile;

/// A file of the fixtures of the crate under test, by its path among them.
pub fn fixture(name: &str) -> PathBuf {
    // Read when the test runs: checkouts may share one target folder.
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("tests/fixtures").join(name)
}

/// The inputs and outputs that a file holds, on a device.
pub struct Recorded {
    file: TensorFile,
    device: Device,
    prefix: &'static str,
}

impl Recorded {
    /// The tensors of a file.
    pub fn open(path: &Path, device: &Device) -> Self {
        Self { file: TensorFile::open(path).unwrap(), device: device.clone(), prefix: "" }
    }

    /// The tensors of a file of the fixtures whose names begin with `io.`, beside weights; they are asked
    /// for without that.
    pub fn beside_weights(name: &str, device: &Device) -> Self {
        Self { prefix: "io.", ..Self::open(&fixture(name), device) }
    }

    /// Floats by their name.
    #[track_caller]
    pub fn floats<const D: usize>(&self, name: &str) -> Tensor<D> {
        self.file.tensor(&self.full(name), &self.device).unwrap()
    }

    /// Whole numbers by their name.
    #[track_caller]
    pub fn ints<const D: usize>(&self, name: &str) -> Tensor<D, Int> {
        self.file.ints(&self.full(name), &self.device).unwrap()
    }

    /// What is real, true, and what padding, by its name.
    #[track_caller]
    pub fn mask(&self, name: &str) -> Tensor<2, Bool> {
        self.file.bools(&self.full(name), &self.device).unwrap()
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}
