use burn::tensor::{DType, Device, Int, Tensor};
use latent_text_kernels::{
    AttentionSettings, Mapping, Past, PastAttention, Reading, Tensors, attend_to_past,
    cross_attention,
};

use super::JoinedProjection;

/// How much there must be room for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// The largest number of texts at a time.
    pub(crate) texts: usize,
    /// The largest number of tokens of a text.
    pub(crate) tokens: usize,
}

/// What a decoder computes once for all tokens.
pub(crate) struct Fixed {
    /// Of each layer, to queries, keys and values of self-attention.
    pub(crate) joined: Vec<JoinedProjection>,
    /// Embeddings of the positions, `[tokens, d_model]`.
    pub(crate) positions: Option<Tensor<2>>,
    /// Added to the logits of the tokens at each distance, `[heads, tokens]` in f32.
    pub(crate) distance_bias: Option<Tensor<2>>,
}

/// What a decoder looks at: the tokens that it has read and the encoder's states. The texts of one
/// source follow each other in a batch and share the keys and values of its states.
pub(crate) struct Seen {
    /// Of each layer.
    pub(crate) pasts: Vec<Past>,
    /// Of each layer, `[sources, length, 2 * inner]`, the values behind the keys.
    pub(crate) sources: Vec<Tensor<3>>,
    /// Added to the logits of the states, `[sources, 1, 1, length]` in f32; none if all may be seen.
    pub(crate) source_bias: Option<Tensor<4>>,
}

/// Where a layer finds what it needs for the newest token.
#[derive(Clone, Copy)]
pub(crate) struct Newest<'a> {
    pub(crate) reading: &'a Reading,
    pub(crate) joined: &'a JoinedProjection,
    pub(crate) distance_bias: Option<&'a Tensor<2>>,
    pub(crate) source: &'a Tensor<3>,
    pub(crate) source_bias: Option<&'a Tensor<4>>,
}

impl Newest<'_> {
    /// What `x` `[texts, 1, d_model]` sees of the tokens so far, `[texts, 1, inner]`; the layer's past goes
    /// in and out.
    pub(crate) fn attend_to_past(
        self,
        x: Tensor<3>,
        past: Past,
        heads: usize,
        scale: f64,
    ) -> (Tensor<3>, Past) {
        let attention = PastAttention { heads, scale, distance_bias: self.distance_bias.cloned() };
        attend_to_past(self.joined.forward(x), past, self.reading, &attention)
    }

    /// What `queries` `[texts, 1, inner]` see of their sources, in the same shape.
    pub(crate) fn attend_to_source(
        self,
        queries: Tensor<3>,
        heads: usize,
        scale: f64,
    ) -> Tensor<3> {
        let shape = queries.dims();
        let bias = self.source_bias.cloned();
        let settings = AttentionSettings { heads, scale, bias, dropout: None };
        let queries = share_sources(queries, self.source.dims()[0]);
        cross_attention(queries, self.source.clone(), &settings).reshape(shape)
    }
}

impl Fixed {
    /// The embedding of the newest token's position, `[1, 1, d_model]`.
    pub(crate) fn position_row(&self, reading: &Reading) -> Option<Tensor<3>> {
        let table = self.positions.clone()?;
        Some(table.select(0, reading.position()).unsqueeze_dim(0))
    }
}

impl Seen {
    /// Nothing has been read but these sources.
    pub(crate) fn new(
        sources: Vec<Tensor<3>>,
        source_bias: Option<Tensor<4>>,
        room: Room,
        on: (&Device, DType),
    ) -> Self {
        let past = |source: &Tensor<3>| {
            let [_, _, width] = source.dims();
            Past::new(room.texts, room.tokens, width / 2, on)
        };
        Self { pasts: sources.iter().map(past).collect(), sources, source_bias }
    }

    /// Takes the newest token's state `x` through all layers, of which `step` is one.
    pub(crate) fn through_layers(
        self,
        mut x: Tensor<3>,
        fixed: &Fixed,
        reading: &Reading,
        mut step: impl FnMut(usize, Tensor<3>, Past, Newest<'_>) -> (Tensor<3>, Past),
    ) -> (Tensor<3>, Self) {
        let Self { pasts, sources, source_bias } = self;
        let mut kept = Vec::with_capacity(pasts.len());
        for (layer, past) in pasts.into_iter().enumerate() {
            let newest = Newest {
                reading,
                joined: &fixed.joined[layer],
                distance_bias: fixed.distance_bias.as_ref(),
                source: &sources[layer],
                source_bias: source_bias.as_ref(),
            };
            let past_after;
            (x, past_after) = step(layer, x, past, newest);
            kept.push(past_after);
        }
        (x, Self { pasts: kept, sources, source_bias })
    }

    /// Whether the device finds out by itself how far has been read; such steps can be recorded.
    pub(crate) fn is_read_by_kernels(&self, heads: usize) -> bool {
        self.pasts.iter().all(|past| past.has_kernel(heads))
    }

    /// The same with the given sources only.
    pub(crate) fn with_sources(self, sources: &Tensor<1, Int>) -> Self {
        let chosen = |tensor: Tensor<3>| tensor.select(0, sources.clone());
        Self {
            pasts: self.pasts,
            sources: self.sources.into_iter().map(chosen).collect(),
            source_bias: self.source_bias.map(|bias| bias.select(0, sources.clone())),
        }
    }
}

impl Tensors for Seen {
    fn map_tensors(&self, mapping: &mut Mapping<'_>) -> Self {
        Self {
            pasts: self.pasts.map_tensors(mapping),
            sources: self.sources.map_tensors(mapping),
            source_bias: self.source_bias.map_tensors(mapping),
        }
    }
}

/// Rows of `[texts, queries, dim]` that look at the same of so many sources as one row with more
/// queries: `[sources, queries * texts / sources, dim]`.
fn share_sources(x: Tensor<3>, sources: usize) -> Tensor<3> {
    let [texts, queries, dim] = x.dims();
    if texts == sources { x } else { x.reshape([sources, texts / sources * queries, dim]) }
}
