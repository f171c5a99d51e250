use std::fs;
use std::path::{Path, PathBuf};

use latent_text_autoencoder::LANGUAGE_MODEL_FOLDER;

use crate::TrainingError;

/// What may belong to an autoencoder in a folder that may hold a whole model.
const AUTOENCODER_PARTS: [&str; 3] =
    ["autoencoder.json", "autoencoder.safetensors", LANGUAGE_MODEL_FOLDER];

/// Tells apart contents: the 64-bit FNV-1a hash, which is the same on every machine and in every
/// version.
pub(super) struct Fingerprint(u64);

impl Fingerprint {
    pub(super) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// The autoencoder in `folder`, without other parts of a model that may lie beside it.
    pub(super) fn autoencoder(self, folder: &Path) -> Result<Self, TrainingError> {
        let mut files = Vec::new();
        for part in AUTOENCODER_PARTS {
            let path = folder.join(part);
            if path.is_dir() {
                collect_files(&path, &mut files)?;
            } else if path.exists() {
                files.push(path);
            }
        }
        self.files(files)
    }

    /// All files of `folder` and below.
    pub(super) fn folder(self, folder: &Path) -> Result<Self, TrainingError> {
        let mut files = Vec::new();
        collect_files(folder, &mut files)?;
        self.files(files)
    }

    pub(super) fn tokens(mut self, texts: &[Vec<u32>]) -> Self {
        for row in texts {
            self.add(&(row.len() as u64).to_le_bytes());
            for id in row {
                self.add(&id.to_le_bytes());
            }
        }
        self
    }

    pub(super) fn finish(self) -> String {
        format!("{:016x}", self.0)
    }

    fn files(mut self, mut files: Vec<PathBuf>) -> Result<Self, TrainingError> {
        files.sort();
        for file in files {
            self.add(&fs::read(&file).map_err(TrainingError::file("read", &file))?);
        }
        Ok(self)
    }

    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

fn collect_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), TrainingError> {
    for entry in fs::read_dir(folder).map_err(TrainingError::file("read", folder))? {
        let path = entry.map_err(TrainingError::file("read", folder))?.path();
        if path.is_dir() {
            collect_files(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
