use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::WeightsError;

/// An open file, read piece by piece.
pub(super) struct Source {
    path: PathBuf,
    file: File,
    length: u64,
    /// Held by the thread that moves the one position in the file.
    #[cfg(not(unix))]
    turn: std::sync::Mutex<()>,
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self, WeightsError> {
        let failed = |source| WeightsError::Read { path: path.to_path_buf(), source };
        // Opening a pipe would wait for somebody to write to it.
        if !fs::metadata(path).map_err(failed)?.is_file() {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file")));
        }
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        Ok(Self {
            path: path.to_path_buf(),
            file,
            length,
            #[cfg(not(unix))]
            turn: std::sync::Mutex::default(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Fills `buffer` with the bytes from `offset` on.
    pub(super) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), WeightsError> {
        self.try_read_at(offset, buffer)
            .map_err(|source| WeightsError::Read { path: self.path.clone(), source })
    }

    #[cfg(unix)]
    fn try_read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, buffer, offset)
    }

    #[cfg(not(unix))]
    fn try_read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        use std::io::{Read, Seek, SeekFrom};
        use std::sync::PoisonError;

        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = &self.file;
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(buffer)
    }

    /// `length` bytes from `offset` on, or `None` if the file is too short for them.
    pub(super) fn bytes(&self, offset: u64, length: u64) -> Result<Option<Vec<u8>>, WeightsError> {
        if offset.checked_add(length).is_none_or(|end| end > self.length) {
            return Ok(None);
        }
        let Ok(length) = usize::try_from(length) else { return Ok(None) };
        let mut bytes = vec![0; length];
        self.read_at(offset, &mut bytes)?;
        Ok(Some(bytes))
    }
}
