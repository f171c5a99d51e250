//! Linear layers: by cuBLASLt where it can be used, else by Burn's matrix product.

use burn::backend::ops::FloatTensorOps;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

#[cfg(feature = "cublas")]
use latent_text_cublas as cublas;

/// Where there is no such library.
#[cfg(not(feature = "cublas"))]
mod cublas {
    use burn_cubecl::tensor::CubeTensor;

    pub(super) fn product(
        _a: CubeTensor,
        _b: CubeTensor,
        _bias: Option<CubeTensor>,
        _added: Option<CubeTensor>,
    ) -> Option<CubeTensor> {
        None
    }

    pub(super) fn product_with_sum(
        _a: CubeTensor,
        _b: CubeTensor,
    ) -> Option<(CubeTensor, CubeTensor)> {
        None
    }
}

/// `x weight` plus a `bias` in every row, plus `added`; `[.., inner]` to `[.., columns]`.
pub(super) fn linear(
    x: CubeTensor,
    weight: CubeTensor,
    bias: Option<CubeTensor>,
    added: Option<CubeTensor>,
) -> CubeTensor {
    let mut shape = x.meta.shape().clone();
    let last = shape.num_dims() - 1;
    shape[last] = weight.meta.shape()[1];
    // Burn's own products may have padded rows: their strides must be kept.
    CubeBackend::float_reshape(matrix_product(flat(x), weight, bias, added.map(flat)), shape)
}

/// All but the last dimension as one.
fn flat(x: CubeTensor) -> CubeTensor {
    let shape = x.meta.shape();
    let (rows, last) = shape.split_at(shape.num_dims() - 1);
    let shape = [rows.iter().product(), last[0]];
    CubeBackend::float_reshape(x, shape.into())
}

fn matrix_product(
    x: CubeTensor,
    weight: CubeTensor,
    bias: Option<CubeTensor>,
    added: Option<CubeTensor>,
) -> CubeTensor {
    let product = cublas::product(x.clone(), weight.clone(), bias.clone(), added.clone());
    product.unwrap_or_else(|| {
        let mut y = CubeBackend::float_matmul(x, weight);
        if let Some(bias) = bias {
            let columns = bias.meta.shape()[0];
            let row = CubeBackend::float_reshape(bias, [1, columns].into());
            y = CubeBackend::float_add(y, row);
        }
        if let Some(added) = added {
            y = CubeBackend::float_add(y, added);
        }
        y
    })
}

/// `dy` times the transposed weight.
pub(super) fn input_gradient(dy: CubeTensor, weight: CubeTensor) -> CubeTensor {
    linear(dy, transpose(weight), None, None)
}

/// The transposed `x` times `dy`.
pub(super) fn weight_gradient(x: CubeTensor, dy: CubeTensor) -> CubeTensor {
    matrix_product(transpose(flat(x)), flat(dy), None, None)
}

/// [`weight_gradient`] and the sum of `dy`'s rows.
pub(super) fn weight_and_bias_gradients(x: CubeTensor, dy: CubeTensor) -> (CubeTensor, CubeTensor) {
    let (x, dy) = (transpose(flat(x)), flat(dy));
    cublas::product_with_sum(x.clone(), dy.clone()).unwrap_or_else(|| {
        let columns = dy.meta.shape()[1];
        let sum = CubeBackend::float_sum_dim(dy.clone(), 0);
        (matrix_product(x, dy, None, None), CubeBackend::float_reshape(sum, [columns].into()))
    })
}

fn transpose(matrix: CubeTensor) -> CubeTensor {
    CubeBackend::float_swap_dims(matrix, 0, 1)
}
