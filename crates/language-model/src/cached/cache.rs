use burn::tensor::{Device, Int, Tensor};
use latent_text_kernels::{Graph, Reading};

use super::{Fixed, Seen};
use crate::generation::TextDecoder;

/// A decoder and what it has read so far.
pub(crate) struct DecoderCache<'a> {
    reading: Reading,
    /// From the newest ids `[texts, 1]` to the logits `[texts, vocabulary]` behind them.
    graph: Graph<'a, (Tensor<2, Int>, Reading), Tensor<2>, Seen>,
}

impl<'a> DecoderCache<'a> {
    /// Goes on from here, and records what is done for a token if that is `wanted` and possible.
    pub(crate) fn new<D: TextDecoder>(
        decoder: &'a D,
        fixed: Fixed,
        seen: Seen,
        reading: Reading,
        wanted: bool,
        device: &Device,
    ) -> Self {
        let wanted = wanted && seen.is_read_by_kernels(decoder.heads());
        let step = move |seen: Seen, (ids, reading): (Tensor<2, Int>, Reading)| {
            let (state, seen) = decoder.step(ids, &reading, &fixed, seen);
            (seen, decoder.logits(state).squeeze_dim(1))
        };
        Self { reading, graph: Graph::with_state(device, seen, step).recorded_if(wanted) }
    }

    /// Reads the newest ids `[texts, 1]`; returns the logits `[texts, vocabulary]` behind them.
    pub(crate) fn next_logits(&mut self, ids: Tensor<2, Int>) -> Tensor<2> {
        self.reading.advance();
        self.graph.run((ids, self.reading.clone()))
    }

    /// Goes on with the given texts only, in this order; one may come several times.
    pub(crate) fn keep_texts(&mut self, texts: &Tensor<1, Int>) {
        self.reading.keep(texts);
    }

    /// Goes on with the given sources only.
    pub(crate) fn keep_sources(&mut self, sources: &Tensor<1, Int>) {
        self.graph.change_state(|seen| seen.with_sources(sources));
    }
}
