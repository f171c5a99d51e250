use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Writes a file through a temporary neighbour that is renamed only once it is complete and
/// flushed, so that `path` holds either its old content or the whole new one.
///
/// # Errors
/// What creating, writing or renaming answers; the temporary file is removed then.
pub fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    Pending::write(path, |error| error, write)?.publish()
}

/// A complete file under a temporary name, which goes with it unless it is published.
pub(crate) struct Pending<'a> {
    temporary: PathBuf,
    path: &'a Path,
}

impl<'a> Pending<'a> {
    /// Writes and flushes what is to become `path`; `failed` makes errors of the file system.
    pub(crate) fn write<E>(
        path: &'a Path,
        failed: impl Fn(io::Error) -> E,
        write: impl FnOnce(&mut File) -> Result<(), E>,
    ) -> Result<Self, E> {
        let pending = Self { temporary: temporary_name(path).map_err(&failed)?, path };
        let mut file = File::create(&pending.temporary).map_err(&failed)?;
        write(&mut file)?;
        file.sync_all().map_err(&failed)?;
        Ok(pending)
    }

    /// Puts the file into its place.
    pub(crate) fn publish(self) -> io::Result<()> {
        fs::rename(&self.temporary, self.path)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        // After a rename there is nothing to remove; after an error, that error is the one to tell.
        let _ = fs::remove_file(&self.temporary);
    }
}

fn temporary_name(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("{} names no file", path.display()))
    })?;
    let mut name = name.to_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    Ok(path.with_file_name(name))
}
