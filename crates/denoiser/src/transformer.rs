use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Bool, Device, Tensor};
use latent_text_kernels::{DropoutSeed, DropoutSite};
use latent_text_nn::{PositionBuckets, linear};

use crate::SkipRule;
use crate::attention::{CrossAttention, KeysValues, SelfAttention};
use crate::context::Context;
use crate::feed_forward::FeedForward;
use crate::masking::mask_bias;
use crate::relative_positions::RelativePositions;

/// The settings of a transformer.
#[derive(Clone, Debug)]
pub(crate) struct TransformerShape {
    pub(crate) dim: usize,
    pub(crate) depth: usize,
    pub(crate) head_dim: usize,
    pub(crate) ff_mult: usize,
    /// Width of the activated condition.
    pub(crate) time_dim: usize,
    pub(crate) dropout: f64,
    pub(crate) dense_connections: usize,
    pub(crate) skips: SkipRule,
    /// Whether every layer attends to a context.
    pub(crate) cross_attention: bool,
    /// Whether self-attention knows relative positions, and which it tells apart.
    pub(crate) relative_positions: Option<PositionBuckets>,
}

/// Transformer layers, with long skips from the first to the last ones where there are dense
/// connections.
#[derive(Module, Debug)]
pub(crate) struct Transformer {
    layers: Vec<Layer>,
    relative_positions: Option<RelativePositions>,
    /// Joins stream and skip, `[2 * dim] -> [dim]`, one for each of the last layers.
    dense_connections: Vec<Linear>,
    #[module(skip)]
    skips: SkipRule,
    /// Probability that an attention weight or an inner value of a feed-forward is dropped.
    dropout: f64,
}

#[derive(Module, Debug)]
struct Layer {
    attention: SelfAttention,
    cross_attention: Option<CrossAttention>,
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

impl TransformerShape {
    pub(crate) fn heads(&self) -> usize {
        self.dim / self.head_dim
    }
}

impl Transformer {
    pub(crate) fn new(shape: &TransformerShape, device: &Device) -> Self {
        let layer = || Layer {
            attention: SelfAttention::new(shape, device),
            cross_attention: shape.cross_attention.then(|| CrossAttention::new(shape, device)),
            feed_forward: FeedForward::new(shape, device),
        };
        let dense = || LinearConfig::new(2 * shape.dim, shape.dim).init(device);
        Self {
            layers: (0..shape.depth).map(|_| layer()).collect(),
            relative_positions: shape.relative_positions.map(|buckets| {
                RelativePositions::new(buckets, shape.heads(), shape.head_dim, device)
            }),
            dense_connections: (0..shape.dense_connections).map(|_| dense()).collect(),
            skips: shape.skips,
            dropout: shape.dropout,
        }
    }

    /// Keys and values of a context, `[batch, length, dim]`, for every layer; `mask`,
    /// `[batch, length]`, is true where the context is real.
    pub(crate) fn read(&self, context: Tensor<3>, mask: Option<Tensor<2, Bool>>) -> Context {
        let attentions = self.layers.iter().filter_map(|layer| layer.cross_attention.as_ref());
        let layers = attentions.map(|attention| attention.read(context.clone())).collect();
        Context { layers, mask }
    }

    /// Scale and shift of every layer, `[batch or 1, 2 * dim]`, by the activated condition,
    /// `[batch or 1, time_dim]`.
    pub(crate) fn modulation(&self, time: Tensor<2>) -> Vec<Tensor<2>> {
        self.layers.iter().map(|layer| layer.feed_forward.modulation(time.clone())).collect()
    }

    /// The stream `h` after all layers, `[batch, latents, dim]`, with the
    /// [`modulation`](Self::modulation) of each sample or of all. `mask`, `[batch, latents]`, is true for
    /// real latents. With cross-attention, there must be a context.
    pub(crate) fn forward(
        &self,
        mut h: Tensor<3>,
        modulation: Vec<Tensor<2>>,
        mask: Option<Tensor<2, Bool>>,
        context: Option<&Context>,
    ) -> Tensor<3> {
        let [batch, latents, _] = h.dims();
        let bias = self.stream_bias(latents, mask.clone());
        let context_bias = context.and_then(|context| mask_bias(mask, context.mask.clone()));
        let dropout = DropoutSeed::draw(self.dropout, &h.device());
        let first_late = self.layers.len() - self.dense_connections.len();
        let mut early = Vec::with_capacity(self.dense_connections.len());
        for (index, (layer, modulation)) in self.layers.iter().zip(modulation).enumerate() {
            if index >= first_late {
                let late = index - first_late;
                let skip = match self.skip(late) {
                    Skip::From(layer) => Tensor::clone(&early[layer]),
                    Skip::Stream => h.clone(),
                };
                h = linear(&self.dense_connections[late], Tensor::cat(vec![h, skip], 2));
            }
            let seen = context.map(|context| context.of_layer(index, batch));
            let dropout = LayerDropout { seed: dropout.as_ref(), layer: index };
            h = layer.forward(h, modulation, bias.clone(), seen, context_bias.clone(), dropout);
            if early.len() < self.dense_connections.len() {
                early.push(h.clone());
            }
        }
        h
    }

    /// What is added to the logits of self-attention in all layers.
    fn stream_bias(&self, latents: usize, mask: Option<Tensor<2, Bool>>) -> Option<Tensor<4>> {
        let hiding = mask_bias(mask.clone(), mask);
        let relative = self.relative_positions.as_ref().map(|positions| positions.bias(latents));
        match (relative, hiding) {
            (Some(relative), Some(hiding)) => Some(relative + hiding),
            (relative, hiding) => relative.or(hiding),
        }
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
    fn forward(
        &self,
        h: Tensor<3>,
        modulation: Tensor<2>,
        bias: Option<Tensor<4>>,
        seen: Option<KeysValues>,
        context_bias: Option<Tensor<4>>,
        dropout: LayerDropout<'_>,
    ) -> Tensor<3> {
        let mut h = self.attention.forward(h, bias, dropout.site(0));
        if let (Some(attention), Some(seen)) = (&self.cross_attention, seen) {
            h = attention.forward(h, seen, context_bias, dropout.site(1));
        }
        self.feed_forward.forward(h, modulation, dropout.site(2))
    }
}

/// What decides the dropout of a layer, if any is dropped.
#[derive(Clone, Copy)]
struct LayerDropout<'a> {
    seed: Option<&'a DropoutSeed>,
    layer: usize,
}

impl LayerDropout<'_> {
    /// That of one of the layer's branches.
    fn site(self, branch: usize) -> Option<DropoutSite> {
        const BRANCHES: usize = 3;
        self.seed.map(|seed| seed.site((self.layer * BRANCHES + branch) as u32))
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Param;

    use super::*;
    use crate::DenoiserConfig;

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
        let mut transformer = Transformer::new(&config.transformer(), device);
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
        transformer.forward(h, transformer.modulation(time), None, None).max().into_scalar()
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
