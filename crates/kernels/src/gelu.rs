use burn::backend::Dispatch;
use burn::tensor::Tensor;

use crate::ops::FusedOps;
use crate::{is_fused_for, plain};

/// The exact GELU, by the error function, of every element. Its gradient is exact too.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let elements = x.shape().num_elements();
    // The kernels count elements in 32 bits.
    if !is_fused_for(&x) || elements > u32::MAX as usize || elements == 0 {
        return plain::gelu(x);
    }
    Tensor::from_dispatch(Dispatch::exact_gelu(x.into_dispatch()))
}
