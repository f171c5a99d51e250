use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;

use crate::lt::{self, Call, NumberFormat};
use crate::matrix::Matrix;

/// `a b`, plus `bias` in every row and plus `added`, where they are given.
///
/// # Shapes
/// - `a`: `[rows, inner]`
/// - `b`: `[inner, columns]`
/// - `bias`: `[columns]`
/// - `added`: `[rows, columns]`
/// - returns `[rows, columns]`, or none if cuBLASLt can't be used or the operands don't fit each other: in
///   shape, dtype or device
pub fn product(
    a: CubeTensor,
    b: CubeTensor,
    bias: Option<CubeTensor>,
    added: Option<CubeTensor>,
) -> Option<CubeTensor> {
    let [rows, columns] = product_shape(&a, &b)?;
    let fits = |tensor: &CubeTensor, shape: &[usize]| {
        tensor.meta.shape().as_slice() == shape && is_like(tensor, &a)
    };
    if !bias.iter().all(|bias| fits(bias, &[columns]))
        || !added.iter().all(|added| fits(added, &[rows, columns]))
    {
        return None;
    }
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
/// - returns `[rows, columns]` and `[columns]`, or none if cuBLASLt can't be used or the operands don't fit
///   each other: in shape, dtype or device
pub fn product_with_sum(a: CubeTensor, b: CubeTensor) -> Option<(CubeTensor, CubeTensor)> {
    let [rows, columns] = product_shape(&a, &b)?;
    let call = Call::of(a, b)?;
    let (out, sum) = (call.empty([rows, columns]), call.empty([columns]));
    call.run(out.clone(), Some(sum.clone())).then_some((out, sum))
}

/// Rows and columns of `a b`, if these are matrices that have a product.
fn product_shape(a: &CubeTensor, b: &CubeTensor) -> Option<[usize; 2]> {
    let [rows, inner] = matrix_shape(a)?;
    let [rows_of_b, columns] = matrix_shape(b)?;
    (inner == rows_of_b && is_like(b, a)).then_some([rows, columns])
}

fn matrix_shape(tensor: &CubeTensor) -> Option<[usize; 2]> {
    tensor.meta.shape().as_slice().try_into().ok()
}

/// Whether both have the same dtype and are on the same device.
fn is_like(one: &CubeTensor, other: &CubeTensor) -> bool {
    one.dtype == other.dtype && one.client.service_id() == other.client.service_id()
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
