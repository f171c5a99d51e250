//! Flex's tensors as slices of f32.

use burn::backend::flex::{FlexTensor, Layout};
use burn::tensor::{Bytes, DType, Shape};

/// A tensor of these numbers, which are not copied.
pub(super) fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape.into()), DType::F32)
}

/// The same tensor with its elements one after another, as [`slice`] wants them.
pub(super) fn contiguous(tensor: FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() }
}

/// The elements of a contiguous tensor.
pub(super) fn slice(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("a contiguous tensor in f32")
}

/// All that is stored from the first element of a tensor on.
pub(super) fn stored(tensor: &FlexTensor) -> &[f32] {
    &tensor.storage()[tensor.layout().start_offset()..]
}

/// Whether a tensor is all that its memory is used for, so that it can be written in place.
pub(super) fn is_alone(tensor: &FlexTensor) -> bool {
    let layout = tensor.layout();
    tensor.is_unique()
        && layout.is_contiguous()
        && layout.start_offset() == 0
        && tensor.bytes().len() == layout.num_elements() * size_of::<f32>()
}

/// The tensor itself if it is [alone](is_alone), else a copy that is.
pub(super) fn own(values: FlexTensor) -> FlexTensor {
    if is_alone(&values) {
        return values;
    }
    let shape = values.layout().shape().clone();
    tensor(slice(&contiguous(values)).to_vec(), shape)
}

/// The elements of a tensor that was made one's [`own`], to write.
pub(super) fn slice_mut(tensor: &mut FlexTensor) -> &mut [f32] {
    tensor.storage_mut()
}

/// The same tensor with strides from 0 on.
pub(super) fn forward(tensor: FlexTensor) -> FlexTensor {
    let is_forward = tensor.layout().strides().iter().all(|&stride| stride >= 0);
    if is_forward { tensor } else { tensor.to_contiguous() }
}
