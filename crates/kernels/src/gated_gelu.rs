use burn::backend::Dispatch;
use burn::tensor::Tensor;

use crate::dropout::DropRule;
use crate::ops::FusedOps;
use crate::{DropoutSite, is_fused_for, plain};

/// `value * gelu(gate)`, where values are the first half of the last dimension and gates the second, with
/// dropout if a site is given. GELU is the exact one, by the error function.
///
/// # Shapes
/// - `x`: `[.., 2 * inner]`
/// - returns `[.., inner]`
pub fn gated_gelu<const D: usize>(x: Tensor<D>, dropout: Option<&DropoutSite>) -> Tensor<D> {
    let elements = x.shape().num_elements();
    // The kernels count elements in 32 bits.
    if !is_fused_for(&x) || elements > u32::MAX as usize || elements == 0 {
        return plain::gated_gelu(x, dropout);
    }
    let (rule, x) = (DropRule::of(dropout), x.into_dispatch());
    let seed = dropout.map_or_else(|| x.clone(), |site| site.seed.clone().into_dispatch());
    Tensor::from_dispatch(Dispatch::gated_gelu(x, seed, rule))
}
