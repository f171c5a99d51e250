use burn::module::{Module, Param};
use burn::nn::LinearConfig;
use burn::tensor::{Device, Tensor};

use crate::layers::product;

/// Linear layers without biases that read the same input, as one product: the queries, keys and values of
/// an attention.
///
/// In [weight files](crate::weights) each part is a tensor of its own. The field that holds the module
/// names the parts, in their order and joined by `_`: of a field `query_key_value`, the files hold
/// `query.weight`, `key.weight` and `value.weight`, all of one width.
#[derive(Module, Debug)]
pub struct JoinedLinear {
    /// `[d_input, parts * d_part]`
    pub weight: Param<Tensor<2>>,
}

/// What a module of this kind is called in a traversal.
pub(crate) const CONTAINER: &str = "Struct:JoinedLinear";

impl JoinedLinear {
    /// `parts` layers from `d_input` to `d_part`, initialised as each would be alone.
    pub fn new(d_input: usize, d_part: usize, parts: usize, device: &Device) -> Self {
        let layer = LinearConfig::new(d_input, parts * d_part).with_bias(false).init(device);
        Self { weight: layer.weight }
    }

    /// `[batch, length, d_input]` to `[batch, length, parts * d_part]`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        product(self.weight.val(), None, x)
    }
}
