use std::collections::BTreeSet;

use latent_text_nn::weights::TensorFile;

use crate::ReferenceError;

/// The tensors of a file whose names begin with a prefix, by the rest of their names.
pub(crate) struct Tensors<'a> {
    pub(crate) file: &'a TensorFile,
    pub(crate) prefix: &'static str,
}

impl Tensors<'_> {
    pub(crate) fn has(&self, name: &str) -> bool {
        self.file.shape(&self.full(name)).is_some()
    }

    /// The name in the file.
    pub(crate) fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The shape of a tensor that must be there and have this rank.
    pub(crate) fn shape<const D: usize>(&self, name: &str) -> Result<[usize; D], ReferenceError> {
        let name = self.full(name);
        let Some(shape) = self.file.shape(&name) else {
            return Err(self.refused(format!("lacks the tensor `{name}`")));
        };
        shape.as_slice().try_into().map_err(|_| {
            self.refused(format!("has `{name}` of shape {shape:?}, not of {D} dimensions"))
        })
    }

    /// How many different numbers follow `list` in the names.
    pub(crate) fn count(&self, list: &str) -> usize {
        let list = self.full(list);
        let names = self.file.names();
        let numbers = names.iter().filter_map(|name| name.strip_prefix(&list)?.split('.').next());
        numbers.collect::<BTreeSet<_>>().len()
    }

    /// `whole / part`, which must be a whole number; `what` is what has these sizes.
    pub(crate) fn multiple(
        &self,
        what: &str,
        whole: usize,
        part: usize,
    ) -> Result<usize, ReferenceError> {
        if part == 0 || !whole.is_multiple_of(part) {
            let problem = format!("has {what} of {whole}, which is no multiple of {part}");
            return Err(self.refused(problem));
        }
        Ok(whole / part)
    }

    pub(crate) fn refused(&self, problem: String) -> ReferenceError {
        ReferenceError::Layout { path: self.file.path().to_path_buf(), problem }
    }
}
