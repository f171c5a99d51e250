use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::nn::{LayerNorm, Linear};
use burn::tensor::{DType, FloatDType, Int, Tensor, activation, module};

/// Applies `layer` to the last dimension of `x`, of shape `[.., d_input]`; returns `[.., d_output]`.
///
/// All leading dimensions are flattened into one, because a product of two matrices is up to twice
/// as fast as the same product with a batch dimension on GPU backends.
///
/// # Panics
/// If the last dimension of `x` is not `d_input`.
pub fn linear<const D: usize>(layer: &Linear, x: Tensor<D>) -> Tensor<D> {
    if D == 2 {
        return layer.forward(x);
    }
    let mut shape = x.dims();
    let d_input = shape[D - 1];
    let rows = shape[..D - 1].iter().product::<usize>();
    let y = layer.forward(x.reshape([rows, d_input]));
    shape[D - 1] = y.dims()[1];
    y.reshape(shape)
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
        states.matmul(table.transpose())
    };
    logits.reshape([batch, length, vocabulary])
}

/// Layer norm over the last dimension, computed in f32 whatever the dtype of `x`, which the result
/// keeps.
pub fn layer_norm<const D: usize>(norm: &LayerNorm, x: Tensor<D>) -> Tensor<D> {
    let dtype = x.dtype();
    if dtype == DType::F32 {
        return norm.forward(x);
    }
    let mut wide = norm.clone();
    wide.gamma = wide.gamma.map(|gamma| gamma.cast(FloatDType::F32));
    wide.beta = wide.beta.map(|beta| beta.map(|beta| beta.cast(FloatDType::F32)));
    wide.forward(x.cast(FloatDType::F32)).cast(dtype)
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
