//! Operations on a tensor's buffer as Burn's dispatch knows them.

use burn::backend::tensor::{BoolTensor, FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, DispatchTensor, TensorMetadata, backend_extension};

/// Copies into buffers, whoever else holds them. `overwrite_..` gives the destination back; `copied_..`
/// gives a new buffer, but, unless it is `always` to copy, `place` itself if the source lies there.
#[backend_extension(Cube, Fusion)]
pub trait BufferOps: Backend {
    #[fusion(dtype = to, shape = to)]
    fn overwrite_float(to: FloatTensor<Self>, from: FloatTensor<Self>) -> FloatTensor<Self>;

    #[fusion(dtype = to, shape = to)]
    fn overwrite_int(to: IntTensor<Self>, from: IntTensor<Self>) -> IntTensor<Self>;

    #[fusion(dtype = to, shape = to)]
    fn overwrite_bool(to: BoolTensor<Self>, from: BoolTensor<Self>) -> BoolTensor<Self>;

    #[fusion(dtype = from, shape = from)]
    fn copied_float(
        from: FloatTensor<Self>,
        place: FloatTensor<Self>,
        always: bool,
    ) -> FloatTensor<Self>;

    #[fusion(dtype = from, shape = from)]
    fn copied_int(from: IntTensor<Self>, place: IntTensor<Self>, always: bool) -> IntTensor<Self>;

    #[fusion(dtype = from, shape = from)]
    fn copied_bool(
        from: BoolTensor<Self>,
        place: BoolTensor<Self>,
        always: bool,
    ) -> BoolTensor<Self>;
}

/// Writes a tensor's values into the buffer of another of the same shape and dtype, which is given back.
pub(super) fn overwrite(to: DispatchTensor, from: DispatchTensor) -> DispatchTensor {
    match to.dtype() {
        dtype if dtype.is_float() => Dispatch::overwrite_float(to, from),
        dtype if dtype.is_bool() => Dispatch::overwrite_bool(to, from),
        _ => Dispatch::overwrite_int(to, from),
    }
}

/// A tensor in a buffer of its own.
pub(super) fn copied(from: DispatchTensor) -> DispatchTensor {
    let place = from.clone();
    copied_unless(from, place, true)
}

/// A tensor in a buffer of its own, or what is at `place`, if that is the tensor.
pub(super) fn copied_from_elsewhere(from: DispatchTensor, place: DispatchTensor) -> DispatchTensor {
    copied_unless(from, place, false)
}

fn copied_unless(from: DispatchTensor, place: DispatchTensor, always: bool) -> DispatchTensor {
    match from.dtype() {
        dtype if dtype.is_float() => Dispatch::copied_float(from, place, always),
        dtype if dtype.is_bool() => Dispatch::copied_bool(from, place, always),
        _ => Dispatch::copied_int(from, place, always),
    }
}
