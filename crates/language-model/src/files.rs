use std::fs;
use std::io::{self, Write};
use std::path::Path;

use latent_text_nn::write_atomically;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::LanguageModelError;

/// The text of `path`; `advice` tells what to do if it does not exist.
pub(crate) fn read_text(path: &Path, advice: &'static str) -> Result<String, LanguageModelError> {
    fs::read_to_string(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => LanguageModelError::Missing { path: path.to_path_buf(), advice },
        _ => LanguageModelError::File { action: "read", path: path.to_path_buf(), source },
    })
}

pub(crate) fn parse_json<T: DeserializeOwned>(
    path: &Path,
    text: &str,
) -> Result<T, LanguageModelError> {
    serde_json::from_str(text)
        .map_err(|source| LanguageModelError::Json { path: path.to_path_buf(), source })
}

pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), LanguageModelError> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|source| LanguageModelError::Json { path: path.to_path_buf(), source })?;
    write_text(path, &text)
}

pub(crate) fn write_text(path: &Path, text: &str) -> Result<(), LanguageModelError> {
    write_atomically(path, |file| file.write_all(text.as_bytes())).map_err(|source| {
        LanguageModelError::File { action: "write", path: path.to_path_buf(), source }
    })
}

pub(crate) fn create_folder(path: &Path) -> Result<(), LanguageModelError> {
    fs::create_dir_all(path).map_err(|source| LanguageModelError::File {
        action: "create",
        path: path.to_path_buf(),
        source,
    })
}
