use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::{Cursor, WeightsError};

/// A safetensors file in memory, checked when it is opened.
pub struct TensorFile {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl TensorFile {
    /// Reads the file and checks that it is whole.
    ///
    /// # Errors
    /// [`WeightsError::Read`] or [`WeightsError::Format`].
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let bytes = fs::read(path)
            .map_err(|source| WeightsError::Read { path: path.to_path_buf(), source })?;
        SafeTensors::deserialize(&bytes)
            .map_err(|source| WeightsError::Format { path: path.to_path_buf(), source })?;
        Ok(Self { path: path.to_path_buf(), bytes })
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names =
            self.read(|tensors| tensors.names().into_iter().map(String::from).collect::<Vec<_>>());
        names.sort();
        names
    }

    /// The shape of the tensor `name`, if the file has it.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.read(|tensors| tensors.tensor(name).ok().map(|view| view.shape().to_vec()))
    }

    /// The entry `key` of the file's own metadata, if it has one.
    pub fn metadata(&self, key: &str) -> Option<String> {
        let (_, metadata) = SafeTensors::read_metadata(&self.bytes).ok()?;
        metadata.metadata().as_ref()?.get(key).cloned()
    }

    /// The float tensor `name` as f32 on `device`; the file may hold f32, f16 or bf16.
    ///
    /// # Errors
    /// [`WeightsError::Tensor`] if it is missing, of another rank, or not of floats.
    pub fn tensor<const D: usize>(
        &self,
        name: &str,
        device: &Device,
    ) -> Result<Tensor<D>, WeightsError> {
        let (values, shape) = self.floats(name)?;
        let shape = self.ranked::<D>(name, shape)?;
        Ok(Tensor::from_data(TensorData::new(values, shape), device))
    }

    /// The integer tensor `name` (i32 or i64) on `device`.
    ///
    /// # Errors
    /// [`WeightsError::Tensor`] if it is missing, of another rank, or not of integers.
    pub fn ints<const D: usize>(
        &self,
        name: &str,
        device: &Device,
    ) -> Result<Tensor<D, Int>, WeightsError> {
        let (values, shape) = self.view(name, |view| match view.dtype() {
            Dtype::I64 => Some(elements(view.data(), i64::from_le_bytes)),
            Dtype::I32 => Some(elements(view.data(), |bytes| i64::from(i32::from_le_bytes(bytes)))),
            _ => None,
        })?;
        let shape = self.ranked::<D>(name, shape)?;
        Ok(Tensor::from_data(TensorData::new(values, shape), device))
    }

    /// The boolean tensor `name` on `device`.
    ///
    /// # Errors
    /// [`WeightsError::Tensor`] if it is missing, of another rank, or not of booleans.
    pub fn bools<const D: usize>(
        &self,
        name: &str,
        device: &Device,
    ) -> Result<Tensor<D, Bool>, WeightsError> {
        let (values, shape) = self.view(name, |view| match view.dtype() {
            Dtype::BOOL => Some(view.data().iter().map(|&byte| byte != 0).collect()),
            _ => None,
        })?;
        let shape = self.ranked::<D>(name, shape)?;
        Ok(Tensor::from_data(TensorData::new(values, shape), device))
    }

    fn floats(&self, name: &str) -> Result<(Vec<f32>, Vec<usize>), WeightsError> {
        self.view(name, |view| match view.dtype() {
            Dtype::F32 => Some(elements(view.data(), f32::from_le_bytes)),
            Dtype::F16 => Some(elements(view.data(), |bytes| f16::from_le_bytes(bytes).to_f32())),
            Dtype::BF16 => Some(elements(view.data(), |bytes| bf16::from_le_bytes(bytes).to_f32())),
            _ => None,
        })
    }

    fn view<T>(
        &self,
        name: &str,
        convert: impl FnOnce(&TensorView<'_>) -> Option<Vec<T>>,
    ) -> Result<(Vec<T>, Vec<usize>), WeightsError> {
        self.read(|tensors| {
            let view = tensors.tensor(name).map_err(|_| self.problem(name, "is missing"))?;
            let values = convert(&view).ok_or_else(|| {
                self.problem(name, &format!("has the unusable type {:?}", view.dtype()))
            })?;
            Ok((values, view.shape().to_vec()))
        })
    }

    fn ranked<const D: usize>(
        &self,
        name: &str,
        shape: Vec<usize>,
    ) -> Result<[usize; D], WeightsError> {
        let found = shape.clone();
        shape
            .try_into()
            .map_err(|_| self.problem(name, &format!("has shape {found:?}, not {D} dimensions")))
    }

    fn problem(&self, name: &str, problem: &str) -> WeightsError {
        WeightsError::Tensor {
            path: self.path.clone(),
            name: name.to_string(),
            problem: problem.to_string(),
        }
    }

    fn read<R>(&self, read: impl FnOnce(SafeTensors<'_>) -> R) -> R {
        read(
            SafeTensors::deserialize(&self.bytes).expect("the file was checked when it was opened"),
        )
    }
}

fn elements<T, const N: usize>(bytes: &[u8], convert: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (chunks, _) = bytes.as_chunks::<N>();
    chunks.iter().map(|&chunk| convert(chunk)).collect()
}

/// Fills every float parameter of `module` from the file at `path`, on the parameter's device, in f32.
///
/// `name_of` gives the name in the file of the parameter at a path in the module.
///
/// # Errors
/// [`WeightsError::Mismatch`] lists every tensor that is missing, left over or of another shape.
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
    };
    let module = module.map(&mut loader);
    let mut problems = loader.problems;
    problems.extend(loader.unused.iter().map(|name| format!("unexpected: {name}")));
    if problems.is_empty() {
        Ok(module)
    } else {
        Err(WeightsError::Mismatch { path: file.path.clone(), problems })
    }
}

struct Loader<'a> {
    file: &'a TensorFile,
    name_of: &'a dyn Fn(&str) -> String,
    cursor: Cursor,
    unused: BTreeSet<String>,
    problems: Vec<String>,
}

impl Loader<'_> {
    fn value<const D: usize>(&mut self, expected: &[usize], device: &Device) -> Option<Tensor<D>> {
        let name = (self.name_of)(&self.cursor.name());
        self.unused.remove(&name);
        let Some(found) = self.file.shape(&name) else {
            self.problems.push(format!("missing: {name}"));
            return None;
        };
        let transposed = self.cursor.is_transposed();
        let mut in_file = expected.to_vec();
        if transposed {
            in_file.reverse();
        }
        if found != in_file {
            self.problems.push(format!("{name} has shape {found:?}, the model needs {in_file:?}"));
            return None;
        }
        match self.file.floats(&name) {
            Ok((values, _)) if transposed => {
                let values = transpose(&values, in_file[0], in_file[1]);
                Some(Tensor::from_data(TensorData::new(values, expected.to_vec()), device))
            }
            Ok((values, _)) => {
                Some(Tensor::from_data(TensorData::new(values, expected.to_vec()), device))
            }
            Err(error) => {
                self.problems.push(error.to_string());
                None
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

pub(super) fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut transposed = Vec::with_capacity(values.len());
    for column in 0..columns {
        transposed.extend((0..rows).map(|row| values[row * columns + column]));
    }
    transposed
}
