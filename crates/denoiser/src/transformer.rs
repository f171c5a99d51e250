use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use latent_text_nn::linear;

use crate::attention::SelfAttention;
use crate::feed_forward::FeedForward;
use crate::{DenoiserConfig, SkipRule};

/// Transformer layers with long skips from the first to the last ones.
#[derive(Module, Debug)]
pub(crate) struct Transformer {
    layers: Vec<Layer>,
    /// Joins stream and skip, `[2 * dim] -> [dim]`, one for each of the last layers.
    dense_connections: Vec<Linear>,
    #[module(skip)]
    skips: SkipRule,
}

#[derive(Module, Debug)]
struct Layer {
    attention: SelfAttention,
    feed_forward: FeedForward,
}

/// What the dense connection before a layer joins with the stream.
#[derive(Debug, PartialEq)]
enum Skip {
    /// The output of an early layer.
    From(usize),
    /// The stream itself.
    Stream,
}

impl Transformer {
    pub(crate) fn new(config: &DenoiserConfig, device: &Device) -> Self {
        let layer = || Layer {
            attention: SelfAttention::new(config, device),
            feed_forward: FeedForward::new(config, device),
        };
        let dense = || LinearConfig::new(2 * config.dim, config.dim).init(device);
        Self {
            layers: (0..config.depth).map(|_| layer()).collect(),
            dense_connections: (0..config.dense_connections).map(|_| dense()).collect(),
            skips: config.skips,
        }
    }

    /// The stream `h` after all layers, `[batch, latents, dim]`; `time` is the activated
    /// condition, `[batch, time_dim]`.
    pub(crate) fn forward(&self, mut h: Tensor<3>, time: Tensor<2>) -> Tensor<3> {
        let first_late = self.layers.len() - self.dense_connections.len();
        let mut early = Vec::with_capacity(self.dense_connections.len());
        for (index, layer) in self.layers.iter().enumerate() {
            if index >= first_late {
                let late = index - first_late;
                let skip = match self.skip(late) {
                    Skip::From(layer) => Tensor::clone(&early[layer]),
                    Skip::Stream => h.clone(),
                };
                h = linear(&self.dense_connections[late], Tensor::cat(vec![h, skip], 2));
            }
            h = layer.forward(h, time.clone());
            if early.len() < self.dense_connections.len() {
                early.push(h.clone());
            }
        }
        h
    }

    /// The skip of the late layer with this index, counted from the first layer that has one.
    fn skip(&self, late: usize) -> Skip {
        match self.skips {
            SkipRule::ReferenceStack if late > 0 => Skip::Stream,
            _ => Skip::From(self.dense_connections.len() - 1 - late),
        }
    }
}

impl Layer {
    fn forward(&self, h: Tensor<3>, time: Tensor<2>) -> Tensor<3> {
        let h = h.clone() + self.attention.forward(h);
        h.clone() + self.feed_forward.forward(h, time)
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Param;

    use super::*;

    const DIM: usize = 4;

    /// Layer `k` adds `k + 1`, and the dense connections form `a[j] * stream + w[j] * skip`.
    fn counting(skips: SkipRule, a: [f32; 3], w: [f32; 3], device: &Device) -> Transformer {
        let config = DenoiserConfig {
            dim: DIM,
            head_dim: 4,
            depth: 6,
            dense_connections: 3,
            skips,
            ..Default::default()
        };
        let mut transformer = Transformer::new(&config, device);
        for (index, layer) in transformer.layers.iter_mut().enumerate() {
            let output = &mut layer.attention.output.weight;
            *output = Param::from_tensor(Tensor::zeros([DIM, DIM], device));
            let norm = &mut layer.feed_forward.output_norm;
            norm.gamma = Param::from_tensor(Tensor::zeros([DIM], device));
            norm.beta = Some(Param::from_tensor(Tensor::full([DIM], (index + 1) as f32, device)));
        }
        for (dense, (a, w)) in transformer.dense_connections.iter_mut().zip(a.into_iter().zip(w)) {
            let eye = || Tensor::<2>::eye(DIM, device);
            dense.weight = Param::from_tensor(Tensor::cat(vec![eye() * a, eye() * w], 0));
            dense.bias = None;
        }
        transformer
    }

    fn output(skips: SkipRule) -> f32 {
        let device = Device::default();
        let transformer = counting(skips, [0.5, 0.25, 2.0], [3.0, 5.0, 7.0], &device);
        let h = Tensor::zeros([1, 2, DIM], &device);
        let time = Tensor::zeros([1, 4 * DIM], &device);
        transformer.forward(h, time).max().into_scalar()
    }

    #[test]
    fn symmetric_skips_pair_the_first_layers_with_the_last() {
        let (s0, s1, s2) = (1.0, 3.0, 6.0);
        let h3 = 0.5 * s2 + 3.0 * s2 + 4.0;
        let h4 = 0.25 * h3 + 5.0 * s1 + 5.0;
        let h5 = 2.0 * h4 + 7.0 * s0 + 6.0;
        assert_eq!(output(SkipRule::Symmetric), h5);
    }

    #[test]
    fn the_reference_has_one_real_skip() {
        let s2 = 6.0;
        let h3 = 0.5 * s2 + 3.0 * s2 + 4.0;
        let h4 = 0.25 * h3 + 5.0 * h3 + 5.0;
        let h5 = 2.0 * h4 + 7.0 * h4 + 6.0;
        assert_eq!(output(SkipRule::ReferenceStack), h5);
    }
}
