use burn::backend::Dispatch;
use burn::tensor::Tensor;

use crate::ops::FusedOps;
use crate::{is_fused_for, plain};

/// `x weight`, plus `bias` in every row if there is one.
///
/// # Shapes
/// - `x`: `[.., inner]`
/// - `weight`: `[inner, columns]`
/// - `bias`: `[columns]`
/// - returns `[.., columns]`
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    if !is_fused_for(&x) {
        return plain::linear(x, weight, bias);
    }
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(match bias {
        None => Dispatch::product(x, weight),
        Some(bias) => Dispatch::product_with_bias(x, weight, bias.into_dispatch()),
    })
}

/// `added + x weight`: a projection onto the stream of a transformer.
///
/// # Shapes
/// - `x`: `[.., inner]`
/// - `weight`: `[inner, columns]`
/// - `added`, and what is returned: `[.., columns]`
pub fn linear_onto<const D: usize>(x: Tensor<D>, weight: Tensor<2>, added: Tensor<D>) -> Tensor<D> {
    if !is_fused_for(&x) {
        return added + plain::linear(x, weight, None);
    }
    let operands = (x.into_dispatch(), weight.into_dispatch(), added.into_dispatch());
    Tensor::from_dispatch(Dispatch::product_onto(operands.0, operands.1, operands.2))
}
