use burn::backend::{Dispatch, DispatchTensor};
use burn::tensor::{DType, Device, Tensor};

use crate::dropout::DropRule;
use crate::ops::{DecodingOps, FusedOps};
use crate::{DropoutSite, Kernels, plain};

/// The most queries that GPUs have a kernel of their own for.
const FEW_QUERIES: usize = 8;

/// A logit far below any real one, yet finite: a row with nothing to see stays free of NaN.
pub const HIDDEN_LOGIT: f32 = -1e30;

/// How attention is computed.
#[derive(Clone, Debug)]
pub struct AttentionSettings {
    /// Number of heads.
    pub heads: usize,
    /// Factor of the products of queries and keys.
    pub scale: f64,
    /// Added to the logits, `[batch or 1, heads or 1, queries or 1, keys or 1]` in f32.
    pub bias: Option<Tensor<4>>,
    /// Drops probabilities.
    pub dropout: Option<DropoutSite>,
}

/// What a kernel is told about an attention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    pub(crate) heads: usize,
    pub(crate) scale: f64,
    pub(crate) biased: bool,
    pub(crate) drop: DropRule,
}

/// Every position of a sample attends to all of them.
///
/// # Shapes
/// - `qkv`: `[batch, length, 3 * dim]`: queries, keys and values
/// - returns `[batch, length, dim]`
pub fn self_attention(qkv: Tensor<3>, settings: &AttentionSettings) -> Tensor<3> {
    let [_, length, width] = qkv.dims();
    if !knows(&qkv, length, width / 3, settings) {
        return plain::self_attention(qkv, settings);
    }
    let qkv = qkv.into_dispatch();
    let (attention, bias, seed) = arguments(&qkv, settings);
    Tensor::from_dispatch(Dispatch::self_attention(qkv, bias, seed, attention))
}

/// Every query attends to all keys of its sample.
///
/// # Shapes
/// - `query`: `[batch, queries, dim]`
/// - `keys_values`: `[batch, keys, 2 * dim]`, the values behind the keys
/// - returns `[batch, queries, dim]`
pub fn cross_attention(
    query: Tensor<3>,
    keys_values: Tensor<3>,
    settings: &AttentionSettings,
) -> Tensor<3> {
    let ([_, queries, dim], [_, keys, _]) = (query.dims(), keys_values.dims());
    if queries <= FEW_QUERIES && knows_few(&query, keys, settings) {
        let (query, keys_values) = (query.into_dispatch(), keys_values.into_dispatch());
        let (attention, bias, _) = arguments(&query, settings);
        let seen = Dispatch::cross_attention_of_few(query, keys_values, bias, attention);
        return Tensor::from_dispatch(seen);
    }
    if !knows(&query, keys, dim, settings) {
        return plain::cross_attention(query, keys_values, settings);
    }
    let (query, keys_values) = (query.into_dispatch(), keys_values.into_dispatch());
    let (attention, bias, seed) = arguments(&query, settings);
    Tensor::from_dispatch(Dispatch::cross_attention(query, keys_values, bias, seed, attention))
}

fn knows(x: &Tensor<3>, keys: usize, dim: usize, settings: &AttentionSettings) -> bool {
    let device = x.device();
    // The kernels give the bias no gradient.
    let biased = settings.bias.as_ref();
    let has_constant_bias =
        biased.is_none_or(|bias| !bias.is_tracked() && bias.dtype() == DType::F32);
    let head_dim = dim / settings.heads;
    has_constant_bias
        && x.shape().num_elements() > 0
        && x.shape().num_elements() < u32::MAX as usize
        && match Kernels::of(&device) {
            Kernels::None => false,
            Kernels::Cube => fits(&device, keys, head_dim, x.dtype()),
            Kernels::Flex => x.dtype() == DType::F32 && keys > 0,
        }
}

/// Whether the GPU's kernel for few queries, which has no gradient, can do this attention.
fn knows_few(query: &Tensor<3>, keys: usize, settings: &AttentionSettings) -> bool {
    let device = query.device();
    let [_, _, dim] = query.dims();
    let bias = settings.bias.as_ref();
    !device.is_autodiff()
        && settings.dropout.is_none()
        && bias.is_none_or(|bias| !bias.is_autodiff() && bias.dtype() == DType::F32)
        && query.shape().num_elements() > 0
        && Kernels::of(&device) == Kernels::Cube
        && few_fit(&device, keys, dim / settings.heads, query.dtype())
}

/// Whether the GPU kernels can do this attention with a device's shared memory.
#[cfg(feature = "cube")]
fn fits(device: &Device, keys: usize, head_dim: usize, dtype: DType) -> bool {
    let fits = |client| crate::cube::attention::fits(&client, keys, head_dim, dtype.size());
    client(device).is_some_and(fits)
}

/// Whether the GPU kernels for one query at a time know heads of this size and so many keys.
#[cfg(feature = "cube")]
pub(crate) fn few_fit(device: &Device, keys: usize, head_dim: usize, dtype: DType) -> bool {
    let fits = |client| crate::cube::few_queries::fits(&client, keys, head_dim, dtype.size());
    client(device).is_some_and(fits)
}

#[cfg(feature = "cube")]
fn client(device: &Device) -> Option<cubecl::client::Client> {
    use burn::backend::DispatchDevice;

    match device.clone().inner().as_dispatch() {
        DispatchDevice::Cube(device) => Some(device.client()),
        #[allow(unreachable_patterns, reason = "what other devices there are depends on features")]
        _ => None,
    }
}

#[cfg(not(feature = "cube"))]
fn fits(_device: &Device, _keys: usize, _head_dim: usize, _dtype: DType) -> bool {
    false
}

#[cfg(not(feature = "cube"))]
pub(crate) fn few_fit(_device: &Device, _keys: usize, _head_dim: usize, _dtype: DType) -> bool {
    false
}

/// What the kernel is told, and the bias and the seed that it may need; where it does not, `x` stands in.
fn arguments(
    x: &DispatchTensor,
    settings: &AttentionSettings,
) -> (Attention, DispatchTensor, DispatchTensor) {
    let attention = Attention {
        heads: settings.heads,
        scale: settings.scale,
        biased: settings.bias.is_some(),
        drop: DropRule::of(settings.dropout.as_ref()),
    };
    let or_x = |given: Option<DispatchTensor>| given.unwrap_or_else(|| x.clone());
    let bias = settings.bias.clone().map(Tensor::into_dispatch);
    let seed = settings.dropout.as_ref().map(|site| site.seed.clone().into_dispatch());
    (attention, or_x(bias), or_x(seed))
}
