//! Writing texts from encoder states.

mod batch;
mod beam;
mod best;
mod config;
mod decoder;
mod folder;
mod processors;
mod sampling;
mod text;
mod token_by_token;

use std::ops::ControlFlow;

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use latent_text_kernels::Reading;

use crate::LanguageModelError;
use crate::cached::{DecoderCache, Room};

pub use self::config::{
    BeamSearch, Decoding, EarlyStopping, ForcedToken, GenerationConfig, Sampling,
};
pub(crate) use self::decoder::{TextDecoder, TextEnds};
pub use self::sampling::next_token_distributions;
pub use self::text::{GeneratedText, NewToken};

/// From so many tokens on it pays to record what is done for one of them.
const TOKENS_WORTH_A_RECORDING: usize = 16;

/// Decodes `config.returns` texts for every row of `encoder_states`; see
/// [`EncoderDecoder::generate`](crate::EncoderDecoder::generate).
pub(crate) fn generate(
    decoder: &impl TextDecoder,
    encoder_states: Tensor<3>,
    encoder_mask: Option<Tensor<2, Bool>>,
    config: &GenerationConfig,
    seeds: &[u64],
) -> Result<Vec<GeneratedText>, LanguageModelError> {
    let writing = Writing::new(decoder, encoder_states, encoder_mask, config, seeds)?;
    writing.texts(seeds, &mut |_| ControlFlow::Continue(()))
}

/// [`generate`] that tells of every token as soon as it is chosen; see
/// [`EncoderDecoder::stream`](crate::EncoderDecoder::stream).
pub(crate) fn stream(
    decoder: &impl TextDecoder,
    encoder_states: Tensor<3>,
    encoder_mask: Option<Tensor<2, Bool>>,
    config: &GenerationConfig,
    seeds: &[u64],
    on_token: &mut dyn FnMut(NewToken) -> ControlFlow<()>,
) -> Result<Vec<GeneratedText>, LanguageModelError> {
    let writing = Writing::new(decoder, encoder_states, encoder_mask, config, seeds)?;
    if let Decoding::Beam(_) = config.decoding {
        return Err(LanguageModelError::Setting {
            setting: "decoding",
            problem: "a beam search has no tokens to tell of before it ends; choose another way"
                .to_string(),
        });
    }
    writing.texts(seeds, on_token)
}

/// What all ways of decoding start from.
struct Writing<'a, D> {
    decoder: &'a D,
    encoder_states: Tensor<3>,
    encoder_mask: Option<Tensor<2, Bool>>,
    config: &'a GenerationConfig,
    sources: usize,
    /// What every text begins with: the start token and the prefix.
    prompt: Vec<u32>,
    eos: Vec<u32>,
    forced_bos: Option<u32>,
    forced_eos: Option<u32>,
    device: Device,
}

impl<'a, D: TextDecoder> Writing<'a, D> {
    fn new(
        decoder: &'a D,
        encoder_states: Tensor<3>,
        encoder_mask: Option<Tensor<2, Bool>>,
        config: &'a GenerationConfig,
        seeds: &[u64],
    ) -> Result<Self, LanguageModelError> {
        config.validate(decoder.max_positions(), decoder.vocab_size())?;
        let sources = encoder_states.dims()[0];
        if seeds.len() != sources {
            return Err(LanguageModelError::Setting {
                setting: "seeds",
                problem: format!("there are {} for a batch of {sources} rows", seeds.len()),
            });
        }
        let ends = decoder.text_ends();
        Ok(Self {
            decoder,
            device: encoder_states.device(),
            encoder_states,
            encoder_mask,
            config,
            sources,
            prompt: std::iter::once(ends.start).chain(config.prefix.iter().copied()).collect(),
            eos: ends.eos.clone(),
            forced_bos: config.forced_bos.or_of_model(ends.forced_bos),
            forced_eos: config.forced_eos.or_of_model(ends.forced_eos),
        })
    }

    /// Writes the texts in the way that the settings name; a beam search tells of no tokens.
    fn texts(
        &self,
        seeds: &[u64],
        on_token: &mut dyn FnMut(NewToken) -> ControlFlow<()>,
    ) -> Result<Vec<GeneratedText>, LanguageModelError> {
        match &self.config.decoding {
            _ if seeds.is_empty() => Ok(Vec::new()),
            Decoding::Beam(search) => self.beam_search(search),
            Decoding::Greedy | Decoding::Sampling(_) => self.token_by_token(seeds, on_token),
        }
    }

    /// Shows the decoder all of the prompt but its last id, for `copies` texts of every source, each of
    /// which may become up to `beams`. Returns the cache and the last id of every text.
    fn read_prompt(&self, copies: usize, beams: usize) -> (DecoderCache<'_>, Tensor<2, Int>) {
        let (mut states, mut mask) = (self.encoder_states.clone(), self.encoder_mask.clone());
        let texts = self.sources * copies;
        if copies > 1 {
            let source_of_text: Vec<usize> = (0..texts).map(|text| text / copies).collect();
            let source_of_text = indices(&source_of_text, &self.device);
            states = states.select(0, source_of_text.clone());
            mask = mask.map(|mask| mask.select(0, source_of_text));
        }
        let tokens = self.config.max_length;
        let room = Room { texts: texts * beams, tokens };
        let (fixed, mut seen) = self.decoder.start(states, mask, room);
        let mut reading = Reading::new(texts, tokens, &self.device);
        let column = |id| token_column(std::iter::repeat_n(id, texts), &self.device);
        let mut newest = column(self.prompt[0]);
        for &id in &self.prompt[1..] {
            reading.advance();
            (_, seen) = self.decoder.step(newest, &reading, &fixed, seen);
            newest = column(id);
        }
        let left = tokens - self.prompt.len();
        let records = self.config.graphs && left >= TOKENS_WORTH_A_RECORDING;
        (DecoderCache::new(self.decoder, fixed, seen, reading, records, &self.device), newest)
    }

    /// The id that texts of `length` ids must go on with, if there is one.
    fn forced(&self, length: usize) -> Option<u32> {
        let last = length + 1 == self.config.max_length;
        let forced_last = self.forced_eos.filter(|_| last);
        forced_last.or(self.forced_bos.filter(|_| length == 1))
    }
}

/// `[texts, 1]`
fn token_column(ids: impl IntoIterator<Item = u32>, device: &Device) -> Tensor<2, Int> {
    let ids: Vec<i64> = ids.into_iter().map(i64::from).collect();
    let shape = [ids.len(), 1];
    Tensor::from_data(TensorData::new(ids, shape), device)
}

fn indices(places: &[usize], device: &Device) -> Tensor<1, Int> {
    let places: Vec<i64> = places.iter().map(|&place| place as i64).collect();
    let count = places.len();
    Tensor::from_data(TensorData::new(places, [count]), device)
}
