//! What goes into a [`Graph`](super::Graph) and comes out of it.

use burn::backend::DispatchTensor;
use burn::tensor::kind::Basic;
use burn::tensor::{DType, Device, Shape, Tensor};

use crate::{Past, Reading};

/// A structure of tensors: a tensor, nothing, and tuples, arrays, vectors and options of these.
///
/// For a struct of your own, [`map_tensors`](Self::map_tensors) puts the same struct together from its
/// mapped fields.
pub trait Tensors: Sized {
    /// The same structure, each tensor replaced by what the mapping makes of it, which has the same shape
    /// and dtype. Always in the same order.
    fn map_tensors(&self, mapping: &mut Mapping<'_>) -> Self;
}

/// What happens to the tensors of a structure.
pub struct Mapping<'a> {
    change: &'a mut dyn FnMut(DispatchTensor) -> DispatchTensor,
    form: Form,
}

/// What of a structure must not change between runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Form(Vec<Part>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Tensor { shape: Shape, dtype: DType, device: Device, autodiff: bool },
    Count(usize),
}

impl Mapping<'_> {
    /// What takes a tensor's place.
    pub fn tensor<const D: usize, K: Basic>(&mut self, tensor: &Tensor<D, K>) -> Tensor<D, K> {
        let device = tensor.device();
        self.form.0.push(Part::Tensor {
            shape: tensor.shape(),
            dtype: tensor.dtype(),
            autodiff: device.is_autodiff(),
            device,
        });
        Tensor::from_dispatch((self.change)(tensor.clone().into_dispatch()))
    }

    /// Notes a number that the structure depends on: with another one, a recording does not apply.
    pub fn count(&mut self, count: usize) {
        self.form.0.push(Part::Count(count));
    }
}

#[cfg(feature = "cube")]
impl Form {
    /// That of a structure.
    pub(super) fn of(tensors: &impl Tensors) -> Self {
        map_with_form(tensors, &mut |tensor| tensor).1
    }

    /// Whether all its tensors are numbers of this device without autodiff.
    pub(super) fn is_plain_on(&self, on: &Device) -> bool {
        self.0.iter().all(|part| match part {
            Part::Tensor { dtype, device, autodiff, .. } => {
                device == on && !autodiff && !matches!(dtype, DType::QFloat(_))
            }
            Part::Count(_) => true,
        })
    }

    /// Whether it has no tensors.
    pub(super) fn is_empty(&self) -> bool {
        !self.0.iter().any(|part| matches!(part, Part::Tensor { .. }))
    }
}

/// The same structure of changed tensors.
#[cfg(feature = "cube")]
pub(super) fn map<T: Tensors>(
    tensors: &T,
    mut change: impl FnMut(DispatchTensor) -> DispatchTensor,
) -> T {
    map_with_form(tensors, &mut change).0
}

/// The same structure of the same tensors.
pub(super) fn same<T: Tensors>(tensors: &T) -> T {
    map_with_form(tensors, &mut |tensor| tensor).0
}

/// All tensors of a structure.
#[cfg(feature = "cube")]
pub(super) fn flat(tensors: &impl Tensors) -> Vec<DispatchTensor> {
    let mut flat = Vec::new();
    map(tensors, |tensor| {
        flat.push(tensor.clone());
        tensor
    });
    flat
}

fn map_with_form<T: Tensors>(
    tensors: &T,
    change: &mut dyn FnMut(DispatchTensor) -> DispatchTensor,
) -> (T, Form) {
    let mut mapping = Mapping { change, form: Form::default() };
    let mapped = tensors.map_tensors(&mut mapping);
    (mapped, mapping.form)
}

impl<const D: usize, K: Basic> Tensors for Tensor<D, K> {
    fn map_tensors(&self, mapping: &mut Mapping<'_>) -> Self {
        mapping.tensor(self)
    }
}

impl Tensors for Past {
    fn map_tensors(&self, mapping: &mut Mapping<'_>) -> Self {
        Self { keys_values: mapping.tensor(&self.keys_values) }
    }
}

/// Its length on the host is not looked at, since the device knows it too.
impl Tensors for Reading {
    fn map_tensors(&self, mapping: &mut Mapping<'_>) -> Self {
        mapping.count(usize::from(self.in_order));
        Self { rows: mapping.tensor(&self.rows), position: mapping.tensor(&self.position), ..*self }
    }
}

impl<T: Tensors> Tensors for Option<T> {
    fn map_tensors(&self, mapping: &mut Mapping<'_>) -> Self {
        mapping.count(usize::from(self.is_some()));
        self.as_ref().map(|tensors| tensors.map_tensors(mapping))
    }
}

impl<T: Tensors> Tensors for Vec<T> {
    fn map_tensors(&self, mapping: &mut Mapping<'_>) -> Self {
        mapping.count(self.len());
        self.iter().map(|tensors| tensors.map_tensors(mapping)).collect()
    }
}

impl<T: Tensors, const N: usize> Tensors for [T; N] {
    fn map_tensors(&self, mapping: &mut Mapping<'_>) -> Self {
        self.each_ref().map(|tensors| tensors.map_tensors(mapping))
    }
}

impl Tensors for () {
    fn map_tensors(&self, _mapping: &mut Mapping<'_>) -> Self {}
}

macro_rules! tuples {
    ($($name:ident)+) => {
        #[allow(non_snake_case, reason = "a tuple's element is called like its type")]
        impl<$($name: Tensors),+> Tensors for ($($name,)+) {
            fn map_tensors(&self, mapping: &mut Mapping<'_>) -> Self {
                let ($($name,)+) = self;
                ($($name.map_tensors(mapping),)+)
            }
        }
    };
}

tuples!(A);
tuples!(A B);
tuples!(A B C);
tuples!(A B C D);
tuples!(A B C D E);
tuples!(A B C D E F);
