use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{FloatDType, Tensor};
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensorError};

use super::elements::{append_bytes, stored_type};
use super::transpose::transpose;
use super::{Cursor, WeightsError};
use crate::file::Pending;

/// Numbers that are converted at a time.
const CHUNK: usize = 1 << 18;

/// Writes every float parameter of `module` to a safetensors file at `path`, in `dtype` (f32, f16 or
/// bf16).
///
/// `name_of` gives the name in the file of the parameter at a path in the module. The file appears
/// whole or not at all. One parameter at a time is in memory besides the module.
///
/// # Errors
/// [`WeightsError::Write`], [`WeightsError::Device`], or [`WeightsError::Tensor`] if a value does not
/// fit into `dtype` or two parameters have the same name.
pub fn save<M: Module>(
    module: &M,
    path: &Path,
    dtype: FloatDType,
    name_of: &dyn Fn(&str) -> String,
) -> Result<(), WeightsError> {
    let layout = Layout::of(module, path, dtype, name_of)?;
    layout
        .write(module, 0..layout.parameters.len(), path)?
        .publish()
        .map_err(|source| WeightsError::Write { path: path.to_path_buf(), source })
}

/// The name and shape of every tensor that [`save`] would write, in the module's order.
pub fn named_shapes<M: Module>(module: &M) -> Vec<(String, Vec<usize>)> {
    let tensors = shapes_of(module).into_iter().flat_map(|(_, names, mut shape)| {
        shape[0] /= names.len();
        names.into_iter().map(move |name| (name, shape.clone()))
    });
    tensors.collect()
}

/// The path and shape of every float parameter, in the module's order. A shape is that in files, where
/// the parts of a parameter that is several tensors there follow each other.
pub fn parameter_shapes<M: Module>(module: &M) -> Vec<(String, Vec<usize>)> {
    shapes_of(module).into_iter().map(|(path, _, shape)| (path, shape)).collect()
}

/// Path, names in files, and shape in files of every float parameter.
fn shapes_of<M: Module>(module: &M) -> Vec<(String, Vec<String>, Vec<usize>)> {
    #[derive(Default)]
    struct Lister {
        cursor: Cursor,
        found: Vec<(String, Vec<String>, Vec<usize>)>,
    }

    impl ModuleVisitor for Lister {
        fn enter_module(&mut self, name: &str, container_type: &str) {
            self.cursor.enter(name, container_type);
        }

        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.cursor.exit();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let mut shape = param.lazy_shape().to_vec();
            if self.cursor.is_transposed() {
                shape.reverse();
            }
            self.found.push((self.cursor.name(), self.cursor.names(), shape));
        }
    }

    let mut lister = Lister::default();
    module.visit(&mut lister);
    lister.found
}

/// What the files of a module are to hold.
pub(super) struct Layout {
    pub(super) dtype: Dtype,
    /// The names and shapes in files, in the module's order.
    pub(super) parameters: Vec<(String, Vec<usize>)>,
}

impl Layout {
    pub(super) fn of<M: Module>(
        module: &M,
        path: &Path,
        dtype: FloatDType,
        name_of: &dyn Fn(&str) -> String,
    ) -> Result<Self, WeightsError> {
        let problem = |name: &str, problem: String| WeightsError::Tensor {
            path: path.to_path_buf(),
            name: name.to_string(),
            problem,
        };
        let mut parameters = named_shapes(module);
        let mut names = BTreeSet::new();
        for (name, _) in &mut parameters {
            *name = name_of(name);
            if !names.insert(name.clone()) {
                return Err(problem(name, "is the name of two parameters".to_string()));
            }
        }
        let first = parameters.first().map_or("", |(name, _)| name);
        let dtype = stored_type(dtype).map_err(|text| problem(first, text))?;
        Ok(Self { dtype, parameters })
    }

    /// The bytes that a parameter takes.
    pub(super) fn bytes_of(&self, parameter: usize) -> usize {
        self.parameters[parameter].1.iter().product::<usize>() * self.dtype.bitsize() / 8
    }

    /// Writes those parameters that are to make up the file `path`.
    pub(super) fn write<'a, M: Module>(
        &self,
        module: &M,
        parameters: Range<usize>,
        path: &'a Path,
    ) -> Result<Pending<'a>, WeightsError> {
        let header = self
            .header(parameters.clone())
            .map_err(|source| WeightsError::Format { path: path.to_path_buf(), source })?;
        let failed = |source| WeightsError::Write { path: path.to_path_buf(), source };
        Pending::write(path, failed, |file| {
            file.write_all(&header).map_err(failed)?;
            let mut writer = Writer {
                layout: self,
                path,
                file,
                cursor: Cursor::default(),
                parameters,
                next: 0,
                result: Ok(()),
            };
            module.visit(&mut writer);
            writer.result
        })
    }

    /// What stands before the values, padded so that they are aligned.
    fn header(&self, parameters: Range<usize>) -> Result<Vec<u8>, SafeTensorError> {
        let mut end = 0;
        let mut tensors = Vec::with_capacity(parameters.len());
        for parameter in parameters {
            let (name, shape) = self.parameters[parameter].clone();
            let start = end;
            end += self.bytes_of(parameter);
            let info = TensorInfo { dtype: self.dtype, shape, data_offsets: (start, end) };
            tensors.push((name, info));
        }
        // `format: pt` is what transformers asks of a file that it is to load.
        let format = [("format".to_string(), "pt".to_string())].into();
        let metadata = Metadata::new(Some(format), tensors)?;
        let mut text = serde_json::to_vec(&metadata)?;
        text.resize(text.len().next_multiple_of(8), b' ');
        let mut header = (text.len() as u64).to_le_bytes().to_vec();
        header.extend(text);
        Ok(header)
    }
}

/// Writes the values of some parameters one after the other.
struct Writer<'a> {
    layout: &'a Layout,
    path: &'a Path,
    file: &'a mut File,
    cursor: Cursor,
    parameters: Range<usize>,
    /// The number of the tensor that is next.
    next: usize,
    result: Result<(), WeightsError>,
}

impl ModuleVisitor for Writer<'_> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.cursor.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.cursor.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let parts = self.cursor.names().len();
        let first = self.next;
        self.next += parts;
        let wanted = (0..parts).filter(|part| self.parameters.contains(&(first + part)));
        let wanted: Vec<usize> = wanted.collect();
        if self.result.is_ok() && !wanted.is_empty() {
            self.result = self.write(param, first, parts, &wanted);
        }
    }
}

impl Writer<'_> {
    /// Writes some of a parameter's `parts`, the first of which has the number `first`.
    fn write<const D: usize>(
        &mut self,
        param: &Param<Tensor<D>>,
        first: usize,
        parts: usize,
        wanted: &[usize],
    ) -> Result<(), WeightsError> {
        let layout = self.layout;
        let name = &layout.parameters[first].0;
        let shape = param.lazy_shape().to_vec();
        let mut values =
            param.val().cast(FloatDType::F32).try_into_vec_as::<f32>().map_err(|error| {
                WeightsError::Device { name: name.to_string(), problem: error.to_string() }
            })?;
        if self.cursor.is_transposed() {
            values = transpose(&values, shape[0], shape[1]);
        }
        for &part in wanted {
            let length = values.len() / parts;
            let name = &layout.parameters[first + part].0;
            self.write_values(&values[part * length..][..length], name)?;
        }
        Ok(())
    }

    fn write_values(&mut self, values: &[f32], name: &str) -> Result<(), WeightsError> {
        let mut bytes = Vec::new();
        for values in values.chunks(CHUNK) {
            bytes.clear();
            append_bytes(self.layout.dtype, values, &mut bytes).map_err(|problem| {
                let path = self.path.to_path_buf();
                WeightsError::Tensor { path, name: name.to_string(), problem }
            })?;
            self.file.write_all(&bytes).map_err(|source: io::Error| WeightsError::Write {
                path: self.path.to_path_buf(),
                source,
            })?;
        }
        Ok(())
    }
}
