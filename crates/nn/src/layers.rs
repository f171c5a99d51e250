use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::nn::{LayerNorm, Linear};
use burn::tensor::{DType, FloatDType, Int, Tensor, activation, module};
use latent_text_kernels::{self as kernels, is_fused_for};

/// Of all norms here. Burn does not tell that of a [`LayerNorm`]; this is its default, and PyTorch's.
const EPSILON: f64 = 1e-5;

/// Applies `layer` to the last dimension of `x`, of shape `[.., d_input]`; returns `[.., d_output]`.
///
/// # Panics
/// If the last dimension of `x` is not `d_input`.
pub fn linear<const D: usize>(layer: &Linear, x: Tensor<D>) -> Tensor<D> {
    product(layer.weight.val(), layer.bias.as_ref().map(|bias| bias.val()), x)
}

/// The last dimension of `x`, `[.., d_input]`, times `weight`, `[d_input, d_output]`, plus `bias`.
///
/// All leading dimensions are flattened into one, because a product of two matrices is up to twice
/// as fast as the same product with a batch dimension on GPU backends. Where the weight is trained on
/// many rows without a kernel of our own, they are divided into parts, each of which has its own sum of
/// gradients.
pub(crate) fn product<const D: usize>(
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    x: Tensor<D>,
) -> Tensor<D> {
    let mut shape = x.dims();
    let rows = shape[..D - 1].iter().product::<usize>();
    let [d_input, d_output] = weight.dims();
    assert_eq!(shape[D - 1], d_input, "the last dimension is not the layer's input");
    shape[D - 1] = d_output;
    match row_parts(rows, &weight) {
        1 => kernels::linear(x, weight, bias),
        parts => {
            product_in_parts(weight, bias, x.reshape([parts, rows / parts, d_input])).reshape(shape)
        }
    }
}

/// `stream + layer(x)`, for a layer without bias; `x` `[batch, length, d_input]`, `stream` and the result
/// `[batch, length, d_output]`.
pub fn linear_onto(layer: &Linear, x: Tensor<3>, stream: Tensor<3>) -> Tensor<3> {
    let weight = layer.weight.val();
    let [batch, length, _] = x.dims();
    if layer.bias.is_some() || row_parts(batch * length, &weight) > 1 {
        return stream + linear(layer, x);
    }
    kernels::linear_onto(x, weight, stream)
}

fn product_in_parts(weight: Tensor<2>, bias: Option<Tensor<1>>, x: Tensor<3>) -> Tensor<3> {
    let parts = x.dims()[0];
    let y = x.matmul(weight.unsqueeze());
    match bias {
        Some(bias) => y + in_parts(bias, parts),
        None => y,
    }
}

/// The same vector `[dim]` for each part, `[parts, 1, dim]`.
fn in_parts(vector: Tensor<1>, parts: usize) -> Tensor<3> {
    let dim = vector.dims()[0];
    vector.reshape([1, 1, dim]).expand([parts, 1, dim])
}

/// Into how many parts the rows of an input are divided, given a parameter that acts on all of them.
///
/// The gradient of a parameter is a sum over all rows. On GPU backends one such sum keeps as many
/// units busy as the parameter has tiles, which are few where the model is small and the batch large;
/// partial sums, added up at the end, keep all of them busy.
fn row_parts<const D: usize>(rows: usize, parameter: &Tensor<D>) -> usize {
    const PARTS: [usize; 5] = [32, 16, 8, 4, 2];
    const ROWS_OF_A_PART: usize = 512;

    // Our own kernels divide the sums themselves.
    if !parameter.is_require_grad() || is_fused_for(parameter) {
        return 1;
    }
    let enough = |parts: &usize| rows.is_multiple_of(*parts) && rows / parts >= ROWS_OF_A_PART;
    PARTS.into_iter().find(enough).unwrap_or(1)
}

/// The rows `ids` of `table`; shapes `[vocabulary, dim]` and `[batch, length]` give
/// `[batch, length, dim]`.
///
/// In half precision a trained table is read by a product with one-hot rows. Its gradient is then
/// accumulated in f32, where the gradient of a lookup adds thousands of rows one after another in the
/// table's own dtype, which loses most of them (and takes GPUs longer than all else in the step).
pub fn embedding(table: Tensor<2>, ids: Tensor<2, Int>) -> Tensor<3> {
    if !table.is_require_grad() || table.dtype() == DType::F32 {
        return module::embedding(table, ids);
    }
    let [batch, length] = ids.dims();
    let [vocabulary, dim] = table.dims();
    let columns = Tensor::arange(0..vocabulary as i64, &ids.device()).unsqueeze_dim::<2>(0);
    let one_hot = ids.reshape([batch * length, 1]).equal(columns);
    one_hot.float().cast(table.dtype()).matmul(table).reshape([batch, length, dim])
}

/// What [`embedding`] does, the other way round: the products of every state in `x`
/// `[batch, length, dim]` with the rows of `table` `[vocabulary, dim]`, that is, the logits
/// `[batch, length, vocabulary]` of an output layer that shares the table.
pub fn unembedding(table: Tensor<2>, x: Tensor<3>) -> Tensor<3> {
    /// CPU kernels rearrange the larger operand of a product if its rows run along the sum, and with
    /// few states that takes longer than the product. On the left they read it as it is.
    const FEW: usize = 64;

    let [batch, length, dim] = x.dims();
    let [vocabulary, _] = table.dims();
    let states = x.reshape([batch * length, dim]);
    let logits = if batch * length <= FEW {
        table.matmul(states.transpose()).transpose()
    } else {
        kernels::linear(states, table.transpose(), None)
    };
    logits.reshape([batch, length, vocabulary])
}

/// Layer norm over the last dimension, computed in f32 whatever the dtype of `x`, which the result
/// keeps. The norm must have the default epsilon, `1e-5`.
pub fn layer_norm<const D: usize>(norm: &LayerNorm, x: Tensor<D>) -> Tensor<D> {
    let (shape, dtype) = (x.dims(), x.dtype());
    let rows = shape[..D - 1].iter().product::<usize>();
    if let (true, Some((gain, bias, epsilon))) = (is_fused_for(&x), parts_of(norm)) {
        return kernels::norm(x, gain, bias, epsilon);
    }
    let parts = row_parts(rows, &norm.gamma.val());
    if dtype == DType::F32 && parts == 1 {
        return norm.forward(x);
    }
    let mut wide = norm.clone();
    wide.gamma = wide.gamma.map(|gamma| gamma.cast(FloatDType::F32));
    wide.beta = wide.beta.map(|beta| beta.map(|beta| beta.cast(FloatDType::F32)));
    let x = x.cast(FloatDType::F32);
    let y = match parts {
        1 => wide.forward(x),
        _ => {
            layer_norm_in_parts(wide, x.reshape([parts, rows / parts, shape[D - 1]])).reshape(shape)
        }
    };
    y.cast(dtype)
}

/// [`layer_norm`] of `x + residual`, of one shape.
pub fn norm_of_sum<const D: usize>(
    norm: &LayerNorm,
    x: Tensor<D>,
    residual: Tensor<D>,
) -> Tensor<D> {
    if let (true, Some((gain, bias, epsilon))) = (is_fused_for(&x), parts_of(norm)) {
        return kernels::norm_of_sum(x, residual, gain, bias, epsilon);
    }
    layer_norm(norm, x + residual)
}

/// `stream + norm(x) * (1 + scale) + shift`, where scale and shift, `[samples, 2 * dim]`, are those of a
/// sample or of all; the rest is `[batch, length, dim]`.
pub fn modulated_norm(
    norm: &LayerNorm,
    x: Tensor<3>,
    scale_and_shift: Tensor<2>,
    stream: Tensor<3>,
) -> Tensor<3> {
    if let (true, Some((gain, bias, epsilon))) = (is_fused_for(&x), parts_of(norm)) {
        return kernels::modulated_norm(x, gain, bias, scale_and_shift, stream, epsilon);
    }
    let dim = x.dims()[2];
    let modulation = scale_and_shift.unsqueeze_dim::<3>(1);
    let scale = modulation.clone().slice_dim(2, 0..dim);
    let shift = modulation.slice_dim(2, dim..2 * dim);
    stream + layer_norm(norm, x) * (scale + 1.0) + shift
}

/// Gain, bias and epsilon of a norm, if it has a bias.
fn parts_of(norm: &LayerNorm) -> Option<(Tensor<1>, Tensor<1>, f64)> {
    let bias = norm.beta.as_ref()?.val();
    Some((norm.gamma.val(), bias, EPSILON))
}

fn layer_norm_in_parts(mut norm: LayerNorm, x: Tensor<3>) -> Tensor<3> {
    let parts = x.dims()[0];
    let (gain, bias) = (norm.gamma.val(), norm.beta.take());
    norm.gamma = norm.gamma.map(|gamma| gamma.ones_like());
    let y = norm.forward(x) * in_parts(gain, parts);
    match bias {
        Some(bias) => y + in_parts(bias.val(), parts),
        None => y,
    }
}

/// Softmax along `dim`, computed in f32 whatever the dtype of `x`, which the result keeps.
pub fn softmax<const D: usize>(x: Tensor<D>, dim: usize) -> Tensor<D> {
    let dtype = x.dtype();
    activation::softmax(x.cast(FloatDType::F32), dim).cast(dtype)
}

/// The same module with every float parameter cast to `dtype`, under the same parameter ids.
///
/// The parameters become leaves of a new graph: gradients do not flow back to `module`.
pub fn cast_module<M: Module>(module: M, dtype: FloatDType) -> M {
    struct Caster(FloatDType);

    impl ModuleMapper for Caster {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|tensor| {
                let trained = tensor.is_require_grad();
                tensor.cast(self.0).detach().set_require_grad(trained)
            })
        }
    }

    module.map(&mut Caster(dtype))
}

/// The dtype of the first float parameter of `module`; none if it has no such.
pub fn dtype_of<M: Module>(module: &M) -> Option<DType> {
    struct First(Option<DType>);

    impl ModuleVisitor for First {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if self.0.is_none() {
                self.0 = Some(param.val().dtype());
            }
        }
    }

    let mut first = First(None);
    module.visit(&mut first);
    first.0
}
