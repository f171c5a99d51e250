//! Flex's tensors as slices of f32.

use std::mem::MaybeUninit;

use burn::backend::flex::{FlexTensor, Layout};
use burn::tensor::{Bytes, DType, Shape};
use rayon::prelude::*;

/// Elements that one core writes at a time.
const PIECE: usize = 1 << 16;

/// A tensor of these numbers, which are not copied.
pub(super) fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape.into()), DType::F32)
}

/// Zeros, which all cores write where they are many.
pub(super) fn zeros(len: usize) -> Vec<f32> {
    if len < 2 * PIECE {
        return vec![0.0; len];
    }
    let fill = |memory: &mut [MaybeUninit<f32>]| {
        memory.par_chunks_mut(PIECE).for_each(|piece| {
            zeroed(piece);
        });
    };
    // SAFETY: the pieces are all of the memory, and each is filled.
    unsafe { filled(len, fill) }
}

/// A vector of `len` numbers, which `fill` writes.
///
/// # Safety
/// `fill` must write all of them.
pub(super) unsafe fn filled(len: usize, fill: impl FnOnce(&mut [MaybeUninit<f32>])) -> Vec<f32> {
    let mut values = Vec::with_capacity(len);
    fill(&mut values.spare_capacity_mut()[..len]);
    // SAFETY: there is room for so many, and the caller answers for their being written.
    unsafe { values.set_len(len) };
    values
}

/// The same memory, filled with zeros.
pub(super) fn zeroed(memory: &mut [MaybeUninit<f32>]) -> &mut [f32] {
    for element in &mut *memory {
        element.write(0.0);
    }
    // SAFETY: every element was written.
    unsafe { memory.assume_init_mut() }
}

/// The elements of all tensors, one tensor after another, `[len]`.
pub(super) fn join(tensors: Vec<FlexTensor>) -> FlexTensor {
    let tensors: Vec<FlexTensor> = tensors.into_iter().map(contiguous).collect();
    let len = tensors.iter().map(|tensor| slice(tensor).len()).sum();
    let fill = |mut rest: &mut [MaybeUninit<f32>]| {
        let mut pieces = Vec::new();
        for tensor in &tensors {
            let (of_tensor, behind) = rest.split_at_mut(slice(tensor).len());
            rest = behind;
            pieces.extend(of_tensor.chunks_mut(PIECE).zip(slice(tensor).chunks(PIECE)));
        }
        pieces.into_par_iter().for_each(|(piece, values)| {
            piece.write_copy_of_slice(values);
        });
    };
    // SAFETY: the tensors are as long as the memory together, and each is copied there.
    let joined = unsafe { filled(len, fill) };
    tensor(joined, [len])
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
