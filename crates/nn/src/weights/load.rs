use std::collections::BTreeSet;
use std::path::Path;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor, TensorData};

use super::tensor_file::TensorFile;
use super::transpose::transpose;
use super::{Cursor, WeightsError};

/// Fills every float parameter of `module` from the safetensors file at `path`, on the parameter's
/// device, in f32.
///
/// `name_of` gives the name in the file of the parameter at a path in the module.
///
/// # Errors
/// [`WeightsError::Mismatch`] lists every tensor that is missing, left over or of another shape;
/// and those of [`TensorFile::open`].
pub fn load<M: Module>(
    module: M,
    path: &Path,
    name_of: &dyn Fn(&str) -> String,
) -> Result<M, WeightsError> {
    load_with(module, &TensorFile::open(path)?, name_of, &|_| false)
}

/// [`load`] from an open file, in which tensors may be left over where `ignore` says so.
///
/// # Errors
/// As [`load`].
pub fn load_with<M: Module>(
    module: M,
    file: &TensorFile,
    name_of: &dyn Fn(&str) -> String,
    ignore: &dyn Fn(&str) -> bool,
) -> Result<M, WeightsError> {
    let mut loader = Loader {
        file,
        name_of,
        cursor: Cursor::default(),
        unused: file.names().into_iter().filter(|name| !ignore(name)).collect(),
        problems: Vec::new(),
        failure: None,
    };
    let module = module.map(&mut loader);
    if let Some(failure) = loader.failure {
        return Err(failure);
    }
    let mut problems = loader.problems;
    problems.extend(loader.unused.iter().map(|name| format!("unexpected: {name}")));
    if problems.is_empty() {
        Ok(module)
    } else {
        Err(WeightsError::Mismatch { path: file.path().to_path_buf(), problems })
    }
}

struct Loader<'a> {
    file: &'a TensorFile,
    name_of: &'a dyn Fn(&str) -> String,
    cursor: Cursor,
    unused: BTreeSet<String>,
    problems: Vec<String>,
    /// The first error of reading the file itself.
    failure: Option<WeightsError>,
}

impl Loader<'_> {
    fn value<const D: usize>(&mut self, expected: &[usize], device: &Device) -> Option<Tensor<D>> {
        let names: Vec<String> =
            self.cursor.names().iter().map(|name| (self.name_of)(name)).collect();
        let transposed = self.cursor.is_transposed();
        let mut in_file = expected.to_vec();
        if transposed {
            in_file.reverse();
        }
        in_file[0] /= names.len();
        // All are looked at, so that each that is at fault is told of.
        let fits = |fits: bool, name: &String| self.is_there(name, &in_file) && fits;
        if !names.iter().fold(true, fits) {
            return None;
        }
        match self.read(&names, transposed, &in_file) {
            Ok(values) => {
                Some(Tensor::from_data(TensorData::new(values, expected.to_vec()), device))
            }
            Err(error @ WeightsError::Read { .. }) => {
                self.failure.get_or_insert(error);
                None
            }
            Err(error) => {
                self.problems.push(error.to_string());
                None
            }
        }
    }

    /// Whether the file has a tensor of this shape.
    fn is_there(&mut self, name: &str, expected: &[usize]) -> bool {
        self.unused.remove(name);
        let problem = match self.file.shape(name) {
            None => format!("missing: {name}"),
            Some(found) if found != expected => {
                format!("{name} has shape {found:?}, the model needs {expected:?}")
            }
            Some(_) => return true,
        };
        self.problems.push(problem);
        false
    }

    /// The values of a parameter, whose parts have the given shape in the file.
    fn read(
        &self,
        names: &[String],
        transposed: bool,
        part: &[usize],
    ) -> Result<Vec<f32>, WeightsError> {
        match names {
            [name] if transposed => self.file.transposed_floats(name),
            [name] => self.file.floats(name),
            _ => {
                let mut rows = Vec::new();
                for name in names {
                    rows.extend(self.file.floats(name)?);
                }
                Ok(transpose(&rows, names.len() * part[0], part[1]))
            }
        }
    }
}

impl ModuleMapper for Loader<'_> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.cursor.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.cursor.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.value(&param.lazy_shape().to_vec(), &param.lazy_device()) {
            Some(value) => {
                let id = param.id;
                param.transform_for_load(value, id)
            }
            None => param,
        }
    }
}
