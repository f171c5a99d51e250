use burn::nn::Linear;
use burn::tensor::Tensor;
use latent_text_kernels::linear;
use latent_text_nn as nn;

/// Linear layers that read the same input, put together for one product.
#[derive(Debug)]
pub(crate) struct JoinedProjection {
    /// `[d_input, parts * d_part]`
    weight: Tensor<2>,
    /// `[parts * d_part]`
    bias: Option<Tensor<1>>,
}

impl JoinedProjection {
    /// The layers have a bias each, or none of them has.
    pub(crate) fn of(layers: [&Linear; 3]) -> Self {
        let weight = Tensor::cat(layers.map(|layer| layer.weight.val()).to_vec(), 1);
        let biases: Vec<Tensor<1>> =
            layers.iter().filter_map(|layer| layer.bias.as_ref()).map(|bias| bias.val()).collect();
        let bias = (biases.len() == layers.len()).then(|| Tensor::cat(biases, 0));
        Self { weight, bias }
    }

    /// `[batch, length, d_input]` to `[batch, length, parts * d_part]`.
    pub(crate) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        linear(x, self.weight.clone(), self.bias.clone())
    }
}

/// Keys and values of sources `[sources, length, d_model]`, the values behind the keys:
/// `[sources, length, 2 * inner]`.
pub(crate) fn keys_values(keys: &Linear, values: &Linear, source: Tensor<3>) -> Tensor<3> {
    Tensor::cat(vec![nn::linear(keys, source.clone()), nn::linear(values, source)], 2)
}
