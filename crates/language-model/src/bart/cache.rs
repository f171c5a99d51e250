use burn::tensor::{Bool, Device, Int, Tensor};

use super::attention::KeysValues;

/// The buffers grow by so many positions at a time: shapes that change at every token would make a
/// GPU backend compile and tune for each of them.
const BLOCK: usize = 32;

/// Keys and values of what a decoder has read so far, and of the encoder's states. The texts of one
/// source follow each other in a batch and share the keys and values of its encoder states.
pub(crate) struct DecoderCache {
    layers: Vec<LayerCache>,
    visible_source: Option<Tensor<4, Bool>>,
    /// `[1, 1, 1, capacity]`: 0, 1, ...
    positions: Tensor<4, Int>,
    length: usize,
}

struct LayerCache {
    /// `[texts, heads, capacity, head_dim]`; zeros behind the last token.
    own: KeysValues,
    /// `[sources, heads, length, head_dim]`
    source: KeysValues,
}

impl DecoderCache {
    /// For one text of each source; `sources` has one entry for each layer.
    pub(crate) fn new(
        sources: Vec<KeysValues>,
        visible_source: Option<Tensor<4, Bool>>,
        device: &Device,
    ) -> Self {
        let layers = sources.into_iter().map(LayerCache::new).collect();
        Self { layers, visible_source, positions: positions(BLOCK, device), length: 0 }
    }

    /// Number of tokens read so far.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Makes room for one more token and tells which positions `[1, 1, 1, capacity]` it may see.
    pub(crate) fn advance(&mut self) -> Tensor<4, Bool> {
        let [_, _, _, capacity] = self.positions.dims();
        if self.length == capacity {
            self.positions = positions(capacity + BLOCK, &self.positions.device());
            self.layers.iter_mut().for_each(LayerCache::grow);
        }
        self.length += 1;
        self.positions.clone().lower_elem(self.length as i64)
    }

    /// Adds the newest token's keys and values to a layer's; returns all of them.
    pub(crate) fn append(&mut self, layer: usize, newest: KeysValues) -> KeysValues {
        let own = &mut self.layers[layer].own;
        let place = self.length - 1;
        assign(&mut own.keys, place, newest.keys);
        assign(&mut own.values, place, newest.values);
        own.clone()
    }

    pub(crate) fn source(&self, layer: usize) -> KeysValues {
        self.layers[layer].source.clone()
    }

    pub(crate) fn visible_source(&self) -> Option<Tensor<4, Bool>> {
        self.visible_source.clone()
    }

    /// Goes on with the given texts only, in this order; one may come several times.
    pub(crate) fn keep_texts(&mut self, texts: &Tensor<1, Int>) {
        for layer in &mut self.layers {
            layer.own.keep(texts);
        }
    }

    /// Goes on with the given sources only.
    pub(crate) fn keep_sources(&mut self, sources: &Tensor<1, Int>) {
        for layer in &mut self.layers {
            layer.source.keep(sources);
        }
        self.visible_source =
            self.visible_source.take().map(|visible| visible.select(0, sources.clone()));
    }
}

impl LayerCache {
    fn new(source: KeysValues) -> Self {
        let room = room(&source.keys);
        Self { own: KeysValues { keys: room.clone(), values: room }, source }
    }

    fn grow(&mut self) {
        let KeysValues { keys, values } = self.own.clone();
        let room = room(&keys);
        self.own.keys = Tensor::cat(vec![keys, room.clone()], 2);
        self.own.values = Tensor::cat(vec![values, room], 2);
    }
}

impl KeysValues {
    fn keep(&mut self, rows: &Tensor<1, Int>) {
        self.keys = self.keys.clone().select(0, rows.clone());
        self.values = self.values.clone().select(0, rows.clone());
    }
}

/// Writes `newest` `[batch, heads, 1, head_dim]` into a buffer.
fn assign(buffer: &mut Tensor<4>, place: usize, newest: Tensor<4>) {
    let [batch, heads, _, head_dim] = newest.dims();
    // Moved out and not cloned: a buffer with one owner can be written in place.
    let owned = std::mem::replace(buffer, newest.clone());
    *buffer = owned.slice_assign([0..batch, 0..heads, place..place + 1, 0..head_dim], newest);
}

/// A block of zeros for keys or values like these.
fn room(like: &Tensor<4>) -> Tensor<4> {
    let [batch, heads, _, head_dim] = like.dims();
    Tensor::zeros([batch, heads, BLOCK, head_dim], (&like.device(), like.dtype()))
}

fn positions(capacity: usize, device: &Device) -> Tensor<4, Int> {
    Tensor::<1, Int>::arange(0..capacity as i64, device).reshape([1, 1, 1, capacity])
}
