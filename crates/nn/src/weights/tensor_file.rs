use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use rayon::prelude::*;
use safetensors::Dtype;

use super::WeightsError;
use super::elements::{elements, is_float, read_floats};
use super::header::read_header;
use super::index::Index;
use super::source::Source;
use super::strided::{gather, is_contiguous, reach};
use super::torch;
use super::transpose::transpose_rows;

/// Elements that a core reads at a time, so that they stay in its cache.
const CHUNK: usize = 1 << 16;

/// Elements of a matrix that are read before they are put to their places in its transpose.
const BLOCK: usize = 1 << 20;

/// The tensors of one weights file, or of several that belong together. Opening it reads and checks
/// the names, shapes and places; the values stay in the file until they are asked for.
pub struct TensorFile {
    path: PathBuf,
    sources: Vec<Source>,
    tensors: BTreeMap<String, Stored>,
    metadata: HashMap<String, String>,
}

/// Where and how a tensor is stored. The bytes lie within the file.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) source: usize,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    /// `None` for elements that follow each other in the order of the shape.
    pub(super) strides: Option<Vec<usize>>,
    pub(super) offset: u64,
}

impl Stored {
    fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

impl TensorFile {
    /// Opens a safetensors file and checks that it is whole.
    ///
    /// # Errors
    /// [`WeightsError::Read`] or [`WeightsError::Format`].
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let mut file = Self::empty(path);
        file.metadata = file.add_safetensors(path)?;
        Ok(file)
    }

    /// Opens a state dict of tensors that `torch.save` wrote (`pytorch_model.bin`), in the zip format
    /// of PyTorch 1.6 or the one before it. Nothing in the file is run: its pickle may only describe
    /// tensors.
    ///
    /// # Errors
    /// [`WeightsError::Read`] or [`WeightsError::StateDict`].
    pub fn open_state_dict(path: &Path) -> Result<Self, WeightsError> {
        Self::open_state_dict_in(path, &[])
    }

    /// As [`open_state_dict`](Self::open_state_dict), of a checkpoint that holds the state dict in
    /// nested dictionaries, below these keys: `["ema"]` for `{"step": 5, "ema": {..}}`. What else a
    /// checkpoint has, such as an optimizer's state, may be plain numbers, texts, lists, tuples,
    /// dictionaries and tensors. The values of tensors that are not asked for are never read.
    ///
    /// # Errors
    /// As [`open_state_dict`](Self::open_state_dict); the latter also if there is no such key.
    pub fn open_state_dict_in(path: &Path, keys: &[&str]) -> Result<Self, WeightsError> {
        let mut file = Self::empty(path);
        file.add_state_dict(path, keys)?;
        Ok(file)
    }

    /// Leaves out all tensors whose names `is_kept` refuses.
    pub fn retain(&mut self, is_kept: impl Fn(&str) -> bool) {
        self.tensors.retain(|name, _| is_kept(name));
    }

    /// Makes the tensor `name` end behind its first `rows` rows.
    ///
    /// # Errors
    /// [`WeightsError::Tensor`] if it is missing or has fewer rows.
    pub fn keep_rows(&mut self, name: &str, rows: usize) -> Result<(), WeightsError> {
        let found = self.stored(name)?.shape.first().copied();
        let Some(found) = found.filter(|&found| rows <= found) else {
            return Err(self.problem(name, &format!("has fewer than {rows} rows")));
        };
        if let Some(stored) = self.tensors.get_mut(name).filter(|_| rows < found) {
            stored.shape[0] = rows;
        }
        Ok(())
    }

    /// Opens all files of a checkpoint by its index (`model.safetensors.index.json` or
    /// `pytorch_model.bin.index.json`). Files that end in `.safetensors` are taken for that, others
    /// for state dicts.
    ///
    /// # Errors
    /// [`WeightsError::Index`] if a file is missing or lies elsewhere, or if the files hold other
    /// tensors than the index says, and the errors of opening each.
    pub fn open_index(path: &Path) -> Result<Self, WeightsError> {
        let index = Index::read(path)?;
        let mut file = Self::empty(path);
        let mut problems = Vec::new();
        for (shard, named) in index.shards {
            let mut part = Self::empty(path);
            let shard_path = path.with_file_name(&shard);
            if shard.ends_with(".safetensors") {
                part.add_safetensors(&shard_path)?;
            } else {
                part.add_state_dict(&shard_path, &[])?;
            }
            let missing = named.iter().filter(|name| !part.tensors.contains_key(*name));
            problems.extend(missing.map(|name| format!("missing in {shard}: {name}")));
            let unnamed = part.tensors.keys().filter(|name| !named.contains(*name));
            problems.extend(unnamed.map(|name| format!("not in the index: {name} of {shard}")));
            file.append(part);
        }
        if problems.is_empty() {
            Ok(file)
        } else {
            Err(WeightsError::Index { path: path.to_path_buf(), problems })
        }
    }

    /// The file that was opened: the index, if there are several.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    /// The shape of the tensor `name`, if the file has it.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.tensors.get(name).map(|stored| stored.shape.clone())
    }

    /// The entry `key` of a safetensors file's own metadata, if it has one.
    pub fn metadata(&self, key: &str) -> Option<String> {
        self.metadata.get(key).cloned()
    }

    /// The float tensor `name` as f32 on `device`; the file may hold f32, f16 or bf16.
    ///
    /// # Errors
    /// [`WeightsError::Tensor`] if it is missing, of another rank, or not of floats;
    /// [`WeightsError::Read`].
    pub fn tensor<const D: usize>(
        &self,
        name: &str,
        device: &Device,
    ) -> Result<Tensor<D>, WeightsError> {
        let shape = self.ranked::<D>(name)?;
        Ok(Tensor::from_data(TensorData::new(self.floats(name)?, shape), device))
    }

    /// The integer tensor `name` (i32 or i64) on `device`.
    ///
    /// # Errors
    /// [`WeightsError::Tensor`] if it is missing, of another rank, or not of integers that 32 bits
    /// can hold; [`WeightsError::Read`].
    pub fn ints<const D: usize>(
        &self,
        name: &str,
        device: &Device,
    ) -> Result<Tensor<D, Int>, WeightsError> {
        let shape = self.ranked::<D>(name)?;
        let stored = self.stored(name)?;
        let bytes = self.bytes(name, stored)?;
        let values: Vec<i64> = match stored.dtype {
            Dtype::I64 => elements(&bytes, i64::from_le_bytes).collect(),
            Dtype::I32 => elements(&bytes, i32::from_le_bytes).map(i64::from).collect(),
            _ => return Err(self.unusable(name, stored.dtype)),
        };
        // Not every device has wider integers.
        if let Some(value) = values.iter().find(|&&value| i32::try_from(value).is_err()) {
            return Err(self.problem(name, &format!("holds {value}, which 32 bits can't")));
        }
        Ok(Tensor::from_data(TensorData::new(values, shape), device))
    }

    /// The boolean tensor `name` on `device`.
    ///
    /// # Errors
    /// [`WeightsError::Tensor`] if it is missing, of another rank, or not of booleans;
    /// [`WeightsError::Read`].
    pub fn bools<const D: usize>(
        &self,
        name: &str,
        device: &Device,
    ) -> Result<Tensor<D, Bool>, WeightsError> {
        let shape = self.ranked::<D>(name)?;
        let stored = self.stored(name)?;
        if stored.dtype != Dtype::BOOL {
            return Err(self.unusable(name, stored.dtype));
        }
        let bytes = self.bytes(name, stored)?;
        let values: Vec<bool> = bytes.iter().map(|&byte| byte != 0).collect();
        Ok(Tensor::from_data(TensorData::new(values, shape), device))
    }

    /// The values of the float tensor `name`, in the order of its shape.
    ///
    /// # Errors
    /// [`WeightsError::Tensor`] if it is missing or not of floats; [`WeightsError::Read`].
    pub fn floats(&self, name: &str) -> Result<Vec<f32>, WeightsError> {
        let stored = self.stored_floats(name)?;
        match &stored.strides {
            Some(strides) => self.view(stored, &stored.shape, strides),
            None => self.run(stored, stored.count()),
        }
    }

    /// Whether two float tensors have the same shape and the same values, bit for bit as f32.
    ///
    /// # Errors
    /// As [`floats`](Self::floats).
    pub fn are_equal(&self, one: &str, other: &str) -> Result<bool, WeightsError> {
        let (a, b) = (self.stored_floats(one)?, self.stored_floats(other)?);
        if a.shape != b.shape {
            return Ok(false);
        }
        if a == b {
            return Ok(true);
        }
        let same = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
        if a.strides.is_some() || b.strides.is_some() {
            return Ok(same(&self.floats(one)?, &self.floats(other)?));
        }
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for first in (0..a.count()).step_by(BLOCK) {
            let count = BLOCK.min(a.count() - first);
            for (stored, values) in [(a, &mut left), (b, &mut right)] {
                values.resize(count, 0.0);
                self.fill(stored, first, values)?;
            }
            if !same(&left, &right) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The values of the transpose of the matrix `name`.
    pub(super) fn transposed_floats(&self, name: &str) -> Result<Vec<f32>, WeightsError> {
        let stored = self.stored_floats(name)?;
        let [rows, columns] = self.ranked::<2>(name)?;
        if let Some(strides) = &stored.strides {
            let strides: Vec<usize> = strides.iter().rev().copied().collect();
            return self.view(stored, &[columns, rows], &strides);
        }
        let mut transposed = vec![0.0; rows * columns];
        if columns == 0 {
            return Ok(transposed);
        }
        let step = (BLOCK / columns).max(1);
        let mut block = Vec::new();
        for first in (0..rows).step_by(step) {
            block.resize(step.min(rows - first) * columns, 0.0);
            self.fill(stored, first * columns, &mut block)?;
            transpose_rows(&block, first, rows, columns, &mut transposed);
        }
        Ok(transposed)
    }

    fn empty(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
            sources: Vec::new(),
            tensors: BTreeMap::new(),
            metadata: HashMap::new(),
        }
    }

    fn add_safetensors(&mut self, path: &Path) -> Result<HashMap<String, String>, WeightsError> {
        let source = Source::open(path)?;
        let (header, start) = read_header(&source)?;
        for (name, info) in header.tensors() {
            let stored = Stored {
                source: self.sources.len(),
                dtype: info.dtype,
                shape: info.shape.clone(),
                strides: None,
                offset: start + info.data_offsets.0 as u64,
            };
            self.tensors.insert(name, stored);
        }
        self.sources.push(source);
        Ok(header.metadata().clone().unwrap_or_default())
    }

    fn add_state_dict(&mut self, path: &Path, keys: &[&str]) -> Result<(), WeightsError> {
        let source = Source::open(path)?;
        self.tensors.extend(torch::read_state_dict(&source, self.sources.len(), keys)?);
        self.sources.push(source);
        Ok(())
    }

    fn append(&mut self, part: Self) {
        let first = self.sources.len();
        self.sources.extend(part.sources);
        self.tensors.extend(part.tensors.into_iter().map(|(name, stored)| {
            let source = first + stored.source;
            (name, Stored { source, ..stored })
        }));
    }

    /// The first `count` elements of the tensor's storage.
    fn run(&self, stored: &Stored, count: usize) -> Result<Vec<f32>, WeightsError> {
        let mut values = vec![0.0; count];
        self.fill(stored, 0, &mut values)?;
        Ok(values)
    }

    /// Reads the elements of the tensor's storage from `first` on, on all cores if they are many.
    fn fill(&self, stored: &Stored, first: usize, values: &mut [f32]) -> Result<(), WeightsError> {
        let size = size_of(stored.dtype);
        let start = stored.offset + (first * size) as u64;
        let source = &self.sources[stored.source];
        let read = |(number, values): (usize, &mut [f32])| {
            let offset = start + (number * CHUNK * size) as u64;
            read_floats(stored.dtype, values, |bytes| source.read_at(offset, bytes))
        };
        if values.len() <= CHUNK {
            return read((0, values));
        }
        values.par_chunks_mut(CHUNK).enumerate().try_for_each(read)
    }

    /// The values of a view of the tensor's storage, in the order of `shape`.
    fn view(
        &self,
        stored: &Stored,
        shape: &[usize],
        strides: &[usize],
    ) -> Result<Vec<f32>, WeightsError> {
        let count = stored.count();
        if count == 0 || is_contiguous(shape, strides) {
            return self.run(stored, count);
        }
        let storage = self.run(stored, reach(shape, strides))?;
        Ok(gather(&storage, shape, strides))
    }

    /// The bytes of a tensor whose elements follow each other.
    fn bytes(&self, name: &str, stored: &Stored) -> Result<Vec<u8>, WeightsError> {
        if stored.strides.is_some() {
            return Err(self.problem(name, "is a view, which only floats may be"));
        }
        let mut bytes = vec![0; stored.count() * size_of(stored.dtype)];
        self.sources[stored.source].read_at(stored.offset, &mut bytes)?;
        Ok(bytes)
    }

    fn stored(&self, name: &str) -> Result<&Stored, WeightsError> {
        self.tensors.get(name).ok_or_else(|| self.problem(name, "is missing"))
    }

    fn stored_floats(&self, name: &str) -> Result<&Stored, WeightsError> {
        let stored = self.stored(name)?;
        if is_float(stored.dtype) { Ok(stored) } else { Err(self.unusable(name, stored.dtype)) }
    }

    fn ranked<const D: usize>(&self, name: &str) -> Result<[usize; D], WeightsError> {
        let shape = &self.stored(name)?.shape;
        shape
            .as_slice()
            .try_into()
            .map_err(|_| self.problem(name, &format!("has shape {shape:?}, not {D} dimensions")))
    }

    fn unusable(&self, name: &str, dtype: Dtype) -> WeightsError {
        self.problem(name, &format!("has the unusable type {dtype:?}"))
    }

    fn problem(&self, name: &str, problem: &str) -> WeightsError {
        let path = match self.tensors.get(name) {
            Some(stored) => self.sources[stored.source].path(),
            None => &self.path,
        };
        WeightsError::Tensor {
            path: path.to_path_buf(),
            name: name.to_string(),
            problem: problem.to_string(),
        }
    }
}

/// Bytes of an element, of those types that are read.
fn size_of(dtype: Dtype) -> usize {
    dtype.bitsize() / 8
}
