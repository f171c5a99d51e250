use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::DataError;

pub(super) const GZIP_SUFFIX: &str = ".gz";
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// An open data file, unpacked on the way, and what its errors need to say.
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) reader: Box<dyn BufRead>,
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self, DataError> {
        let open_error = |source| DataError::Open { path: path.to_path_buf(), source };
        let file = File::open(path).map_err(open_error)?;
        if file.metadata().map_err(open_error)?.is_dir() {
            return Err(open_error(io::ErrorKind::IsADirectory.into()));
        }
        let packed = path.to_string_lossy().to_lowercase().ends_with(GZIP_SUFFIX);
        let file = BufReader::new(file);
        let reader: Box<dyn BufRead> = if packed {
            Box::new(BufReader::new(MultiGzDecoder::new(file)))
        } else {
            Box::new(file)
        };
        Ok(Self { path: path.to_path_buf(), reader })
    }

    /// The lines with their numbers, without line ends, byte order mark and blank lines.
    pub(super) fn lines(mut self) -> impl Iterator<Item = Result<(u64, String), DataError>> {
        let mut line = 0;
        std::iter::from_fn(move || {
            loop {
                line += 1;
                match self.next_line(line).transpose()? {
                    Ok(text) if text.trim().is_empty() => {}
                    other => return Some(other.map(|text| (line, text))),
                }
            }
        })
    }

    fn next_line(&mut self, line: u64) -> Result<Option<String>, DataError> {
        let mut bytes = Vec::new();
        let read = self.reader.read_until(b'\n', &mut bytes);
        if read.map_err(|source| read_error(&self.path, line, source))? == 0 {
            return Ok(None);
        }
        if line == 1 && bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.drain(..BYTE_ORDER_MARK.len());
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(DataError::NotUtf8 { path: self.path.clone(), line }),
        }
    }
}

/// The error for a failed read at `line`.
pub(super) fn read_error(path: &Path, line: u64, source: io::Error) -> DataError {
    let path = path.to_path_buf();
    match source.kind() {
        io::ErrorKind::UnexpectedEof => DataError::TruncatedGzip { path, line },
        _ => DataError::Read { path, line, source },
    }
}
