use std::borrow::Cow;
use std::io::Write;
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{FloatDType, Tensor};
use half::{bf16, f16};
use safetensors::{Dtype, View};

use super::read::transpose;
use super::{Cursor, WeightsError};
use crate::write_atomically;

/// Writes every float parameter of `module` to a safetensors file at `path`, in `dtype`.
///
/// `name_of` gives the name in the file of the parameter at a path in the module. The file appears
/// whole or not at all.
///
/// # Errors
/// [`WeightsError::Write`], [`WeightsError::Device`], or [`WeightsError::Tensor`] if a value does not
/// fit into `dtype`.
pub fn save<M: Module>(
    module: &M,
    path: &Path,
    dtype: FloatDType,
    name_of: &dyn Fn(&str) -> String,
) -> Result<(), WeightsError> {
    let mut collector = Collector { cursor: Cursor::default(), tensors: Vec::new(), failure: None };
    module.visit(&mut collector);
    if let Some(failure) = collector.failure {
        return Err(failure);
    }
    let mut tensors = Vec::with_capacity(collector.tensors.len());
    for (name, shape, values) in collector.tensors {
        let name = name_of(&name);
        let encoded = Encoded::new(&values, shape, dtype).map_err(|problem| {
            WeightsError::Tensor { path: path.to_path_buf(), name: name.clone(), problem }
        })?;
        tensors.push((name, encoded));
    }
    // `format: pt` is what transformers asks of a file that it is to load.
    let metadata = Some([("format".to_string(), "pt".to_string())].into());
    let bytes = safetensors::serialize(tensors, metadata)
        .map_err(|source| WeightsError::Format { path: path.to_path_buf(), source })?;
    write_atomically(path, |file| file.write_all(&bytes))
        .map_err(|source| WeightsError::Write { path: path.to_path_buf(), source })
}

/// The name and shape of every float parameter, as [`save`] would write them, in the module's order.
pub fn named_shapes<M: Module>(module: &M) -> Vec<(String, Vec<usize>)> {
    #[derive(Default)]
    struct Lister {
        cursor: Cursor,
        found: Vec<(String, Vec<usize>)>,
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
            self.found.push((self.cursor.name(), shape));
        }
    }

    let mut lister = Lister::default();
    module.visit(&mut lister);
    lister.found
}

struct Collector {
    cursor: Cursor,
    tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
    failure: Option<WeightsError>,
}

impl ModuleVisitor for Collector {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.cursor.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.cursor.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.cursor.name();
        let mut shape = param.lazy_shape().to_vec();
        match param.val().cast(FloatDType::F32).try_into_vec_as::<f32>() {
            Ok(mut values) => {
                if self.cursor.is_transposed() {
                    values = transpose(&values, shape[0], shape[1]);
                    shape.reverse();
                }
                self.tensors.push((name, shape, values));
            }
            Err(error) => {
                self.failure
                    .get_or_insert(WeightsError::Device { name, problem: error.to_string() });
            }
        }
    }
}

struct Encoded {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Encoded {
    fn new(values: &[f32], shape: Vec<usize>, dtype: FloatDType) -> Result<Self, String> {
        let (dtype, bytes) = match dtype {
            FloatDType::F32 => {
                (Dtype::F32, values.iter().flat_map(|value| value.to_le_bytes()).collect())
            }
            FloatDType::F16 => {
                if let Some(value) = values.iter().find(|value| value.abs() > f16::MAX.to_f32()) {
                    return Err(format!("holds {value}, which f16 can't; save it as f32 or bf16"));
                }
                (
                    Dtype::F16,
                    values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect(),
                )
            }
            FloatDType::BF16 => (
                Dtype::BF16,
                values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect(),
            ),
            other => return Err(format!("can't be written as {other:?}: choose f32, f16 or bf16")),
        };
        Ok(Self { dtype, shape, bytes })
    }
}

impl View for Encoded {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}
