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
///
/// # Panics
/// If the shapes don't fit each other, or not all tensors have the same dtype.
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let dims = product_dims(&x, &weight);
    if let Some(bias) = &bias {
        assert_eq!(bias.dims(), [dims[D - 1]], "the bias must have an element for each column");
        assert_alike("the bias", bias, &x);
    }
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
///
/// # Panics
/// If the shapes don't fit each other, or not all tensors have the same dtype.
pub fn linear_onto<const D: usize>(x: Tensor<D>, weight: Tensor<2>, added: Tensor<D>) -> Tensor<D> {
    let dims = product_dims(&x, &weight);
    assert_eq!(added.dims(), dims, "what is added must have the shape of the product");
    assert_alike("what is added", &added, &x);
    if !is_fused_for(&x) {
        return added + plain::linear(x, weight, None);
    }
    let operands = (x.into_dispatch(), weight.into_dispatch(), added.into_dispatch());
    Tensor::from_dispatch(Dispatch::product_onto(operands.0, operands.1, operands.2))
}

/// The shape of `x weight`, which must have a product.
fn product_dims<const D: usize>(x: &Tensor<D>, weight: &Tensor<2>) -> [usize; D] {
    let (mut dims, [inner, columns]) = (x.dims(), weight.dims());
    assert_eq!(dims[D - 1], inner, "the last dimension of x must be as long as the weight's first");
    assert_alike("the weight", weight, x);
    dims[D - 1] = columns;
    dims
}

/// The kernels take the dtype of `x` for that of all tensors.
fn assert_alike<const D: usize, const E: usize>(what: &str, tensor: &Tensor<D>, x: &Tensor<E>) {
    assert_eq!(tensor.dtype(), x.dtype(), "{what} must have the dtype of x");
}
