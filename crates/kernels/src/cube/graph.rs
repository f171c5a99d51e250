use burn::backend::cubecl::dtype_to_elem_type;
use burn::backend::tensor::{BoolTensor, FloatTensor, IntTensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use cubecl::std::tensor::copy_into;

use super::empty;
use crate::graph::BufferOps;

type Float = FloatTensor<CubeBackend>;
type Int = IntTensor<CubeBackend>;
type Bool = BoolTensor<CubeBackend>;

impl BufferOps for CubeBackend {
    fn overwrite_float(to: Float, from: Float) -> Float {
        overwrite(to, from)
    }

    fn overwrite_int(to: Int, from: Int) -> Int {
        overwrite(to, from)
    }

    fn overwrite_bool(to: Bool, from: Bool) -> Bool {
        overwrite(to, from)
    }

    fn copied_float(from: Float, place: Float, always: bool) -> Float {
        copied(from, place, always)
    }

    fn copied_int(from: Int, place: Int, always: bool) -> Int {
        copied(from, place, always)
    }

    fn copied_bool(from: Bool, place: Bool, always: bool) -> Bool {
        copied(from, place, always)
    }
}

fn overwrite(to: CubeTensor, from: CubeTensor) -> CubeTensor {
    if !is_at(&from, &to) && to.meta.shape().num_elements() > 0 {
        let (client, dtype) = (to.client.clone(), dtype_to_elem_type(to.dtype));
        copy_into(&client, from.binding(), to.clone().binding(), dtype);
    }
    to
}

fn copied(from: CubeTensor, place: CubeTensor, always: bool) -> CubeTensor {
    if !always && is_at(&from, &place) {
        return place;
    }
    overwrite(empty(&from, from.meta.shape().clone()), from)
}

/// Whether both are the same elements of the same memory.
fn is_at(tensor: &CubeTensor, place: &CubeTensor) -> bool {
    let at = |tensor: &CubeTensor| {
        let handle = &tensor.handle;
        (handle.memory.descriptor().id, handle.offset_start.unwrap_or(0))
    };
    at(tensor) == at(place) && tensor.meta == place.meta
}
