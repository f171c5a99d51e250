use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::tensor::Slice;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use crate::Place;
use crate::ops::{FlatOps, WIDTH};

type Float = FloatTensor<CubeBackend>;

impl FlatOps for CubeBackend {
    fn put(
        flat: Float,
        a: Float,
        b: Float,
        c: Float,
        d: Float,
        e: Float,
        f: Float,
        g: Float,
        h: Float,
        starts: [usize; WIDTH],
    ) -> Float {
        let mut flat = flat;
        for (tensor, start) in [a, b, c, d, e, f, g, h].into_iter().zip(starts) {
            let len = tensor.meta.shape().num_elements();
            let piece = with_shape(into_contiguous(tensor), &[len]);
            flat = Self::float_slice_assign(flat, &[range(start, start + len)], piece);
        }
        flat
    }

    fn take(
        flat: Float,
        places: [Place; WIDTH],
    ) -> (Float, Float, Float, Float, Float, Float, Float, Float) {
        let [a, b, c, d, e, f, g, h] = places.map(|place| {
            let piece = Self::float_slice(flat.clone(), &[range(place.start, place.end())]);
            with_shape(piece, &place.shape)
        });
        (a, b, c, d, e, f, g, h)
    }
}

fn range(start: usize, end: usize) -> Slice {
    Slice::new(start as isize, Some(end as isize), 1)
}

/// The same contiguous memory in another shape.
fn with_shape(tensor: CubeTensor, shape: &[usize]) -> CubeTensor {
    let shape = shape.to_vec().into();
    CubeTensor::new_contiguous(tensor.client, tensor.device, shape, tensor.handle, tensor.dtype)
}
