use std::collections::HashSet;

use safetensors::Dtype;

/// What a pickle on its way through the machine may hold.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// Nothing that a tensor is described with.
    Float,
    Text(&'a str),
    Class(Class),
    /// The number of an [`Object`].
    Object(usize),
}

/// The names that a state dict may refer to. None of them is called: they only say how to read
/// what is beside them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Class {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Dtype),
}

impl Class {
    pub(super) fn find(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Self::RebuildParameter,
            ("torch", "FloatStorage") => Self::Storage(Dtype::F32),
            ("torch", "HalfStorage") => Self::Storage(Dtype::F16),
            ("torch", "BFloat16Storage") => Self::Storage(Dtype::BF16),
            ("torch", "DoubleStorage") => Self::Storage(Dtype::F64),
            ("torch", "LongStorage") => Self::Storage(Dtype::I64),
            ("torch", "IntStorage") => Self::Storage(Dtype::I32),
            ("torch", "ShortStorage") => Self::Storage(Dtype::I16),
            ("torch", "CharStorage") => Self::Storage(Dtype::I8),
            ("torch", "ByteStorage") => Self::Storage(Dtype::U8),
            ("torch", "BoolStorage") => Self::Storage(Dtype::BOOL),
            _ => return None,
        })
    }
}

/// A value that others refer to. What a pickle shares stays shared: nothing is ever copied, so that
/// a pickle takes no more memory than a small multiple of its length.
#[derive(Debug)]
pub(super) enum Object<'a> {
    Tuple(Vec<Value<'a>>),
    List(Vec<Value<'a>>),
    Dict(Vec<(Value<'a>, Value<'a>)>),
    Storage(Storage<'a>),
    Tensor(View<'a>),
}

/// A run of elements that tensors are views of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Storage<'a> {
    pub(super) key: &'a str,
    pub(super) dtype: Dtype,
    pub(super) count: usize,
}

/// A tensor as a view of a storage.
#[derive(Clone, Debug)]
pub(super) struct View<'a> {
    pub(super) storage: &'a str,
    pub(super) dtype: Dtype,
    /// The element of the storage that is the tensor's first.
    pub(super) first: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

impl View<'_> {
    /// The number of elements, if it can be told.
    pub(super) fn count(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size))
    }

    /// The last element of the storage that belongs to a tensor which is not empty.
    pub(super) fn last(&self) -> Option<usize> {
        self.shape.iter().zip(&self.strides).try_fold(self.first, |last, (&size, &stride)| {
            last.checked_add(size.checked_sub(1)?.checked_mul(stride)?)
        })
    }
}

/// What a pickle with a state dict in it describes.
#[derive(Debug)]
pub(super) struct Description<'a> {
    /// The tensors of the state dict.
    pub(super) tensors: Vec<(&'a str, View<'a>)>,
    /// The storages of all tensors of the pickle.
    pub(super) storages: Vec<Storage<'a>>,
}

impl<'a> Description<'a> {
    /// The storages that tensors of the state dict lie in.
    pub(super) fn needed_storages(&self) -> impl Iterator<Item = &Storage<'a>> {
        let needed: HashSet<&str> = self.tensors.iter().map(|(_, view)| view.storage).collect();
        self.storages.iter().filter(move |storage| needed.contains(storage.key))
    }
}
