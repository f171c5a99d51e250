use std::path::{Path, PathBuf};

use latent_text_nn::weights::TensorFile;

use crate::ReferenceError;
use crate::arguments::Arguments;

/// A run folder of the published code.
pub(crate) struct Run {
    pub(crate) arguments: Arguments,
    pub(crate) checkpoint: PathBuf,
}

impl Run {
    /// The run in `folder`, with one of its checkpoints.
    pub(crate) fn new(folder: &Path, checkpoint: &str) -> Result<Self, ReferenceError> {
        let arguments = Arguments::read(folder)?;
        Ok(Self { arguments, checkpoint: folder.join(checkpoint) })
    }

    /// The tensors below these keys of the checkpoint.
    pub(crate) fn open(&self, keys: &[&str]) -> Result<TensorFile, ReferenceError> {
        Ok(TensorFile::open_state_dict_in(&self.checkpoint, keys)?)
    }
}
