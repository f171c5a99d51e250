//! Matrix products of Burn's CUDA tensors by cuBLASLt, which is loaded at run time.
//!
//! `product` and `product_with_sum` put the work on the stream of their operands, in order with
//! CubeCL's kernels and without waiting; both can be recorded into a CUDA graph. Where there is no such
//! library, or for a dtype, layout or device that it has no use for, they answer with none and the caller
//! takes Burn's own product. Without the feature `cuda` the crate is empty.
//!
//! Products of f32 are computed in f32, never in TF32; those of bf16 and f16 are summed in f32.

#![cfg(feature = "cuda")]

mod lt;

use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;

use crate::lt::{Call, Matrix, NumberFormat};

/// `a b`, plus `bias` in every row and plus `added`, where they are given.
///
/// # Shapes
/// - `a`: `[rows, inner]`
/// - `b`: `[inner, columns]`
/// - `bias`: `[columns]`
/// - `added`: `[rows, columns]`
/// - returns `[rows, columns]`, or none if cuBLASLt can't be used
pub fn product(
    a: CubeTensor,
    b: CubeTensor,
    bias: Option<CubeTensor>,
    added: Option<CubeTensor>,
) -> Option<CubeTensor> {
    let (rows, columns) = (a.meta.shape()[0], b.meta.shape()[1]);
    let call = Call {
        bias: bias.map(into_contiguous),
        added: added.map(into_contiguous),
        ..Call::of(a, b)?
    };
    let out = call.empty([rows, columns]);
    call.run(out.clone(), None).then_some(out)
}

/// `a b` and the sum of `b`'s rows: for `a` the transposed input of a linear layer and `b` the gradient of
/// its output, the gradients of weight and bias.
///
/// # Shapes
/// - `a`: `[rows, inner]`
/// - `b`: `[inner, columns]`
/// - returns `[rows, columns]` and `[columns]`, or none if cuBLASLt can't be used
pub fn product_with_sum(a: CubeTensor, b: CubeTensor) -> Option<(CubeTensor, CubeTensor)> {
    let (rows, columns) = (a.meta.shape()[0], b.meta.shape()[1]);
    let call = Call::of(a, b)?;
    let (out, sum) = (call.empty([rows, columns]), call.empty([columns]));
    call.run(out.clone(), Some(sum.clone())).then_some((out, sum))
}

impl Call {
    /// A product without additions, if cuBLASLt is there and knows the operands' format.
    fn of(a: CubeTensor, b: CubeTensor) -> Option<Self> {
        let format = NumberFormat::of(a.dtype)?;
        lt::is_usable(&a.client).then(|| Self {
            format,
            a: Matrix::of(a),
            b: Matrix::of(b),
            bias: None,
            added: None,
        })
    }

    fn empty<const D: usize>(&self, shape: [usize; D]) -> CubeTensor {
        let like = &self.a.tensor;
        let (client, device) = (like.client.clone(), like.device.clone());
        empty_device_contiguous_dtype(client, device, shape.into(), like.dtype)
    }
}
