use burn::backend::Dispatch;
use burn::tensor::Tensor;

use crate::dropout::DropRule;
use crate::ops::FusedOps;
use crate::{DropoutSite, is_fused_for, plain};

/// `value * gelu(gate)`, where values are the first half of the last dimension and gates the second, with
/// dropout if a site is given. GELU is the exact one, by the error function.
///
/// # Shapes
/// - `x`: `[rows, 2 * inner]`
/// - returns `[rows, inner]`
pub fn gated_gelu(x: Tensor<2>, dropout: Option<&DropoutSite>) -> Tensor<2> {
    let [rows, width] = x.dims();
    // The kernels count elements in 32 bits.
    if !is_fused_for(&x) || rows * width > u32::MAX as usize || rows == 0 {
        return plain::gated_gelu(x, dropout);
    }
    let (rule, x) = (DropRule::of(dropout), x.into_dispatch());
    let seed = dropout.map_or_else(|| x.clone(), |site| site.seed.clone().into_dispatch());
    Tensor::from_dispatch(Dispatch::gated_gelu(x, seed, rule))
}
