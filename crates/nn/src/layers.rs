use burn::module::{Module, ModuleMapper, Param};
use burn::nn::{LayerNorm, Linear};
use burn::tensor::{DType, FloatDType, Tensor, activation};

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
