//! Beam search over whole batches: the device computes scores, the host decides.

mod source;

use burn::tensor::FloatDType;

use self::source::Source;
use super::best::{Candidate, best_of_rows, logsumexp};
use super::processors::Processors;
use super::{BeamSearch, GeneratedText, GenerationConfig, Writing, indices, token_column};
use crate::LanguageModelError;
use crate::generation::decoder::TextDecoder;

impl<D: TextDecoder> Writing<'_, D> {
    /// `returns` texts for every source, the best first.
    pub(super) fn beam_search(
        &self,
        search: &BeamSearch,
    ) -> Result<Vec<GeneratedText>, LanguageModelError> {
        let processors = Processors::new(self.config, &self.eos);
        let (mut cache, mut newest) = self.read_prompt(1, search.beams);
        let mut beams = Beams::new(self, *search);

        for length in self.prompt.len()..self.config.max_length {
            let last = length + 1 == self.config.max_length;
            let candidates = match self.forced(length) {
                Some(id) => {
                    if !last {
                        cache.next_logits(newest);
                    }
                    vec![vec![Candidate { id, score: 0.0 }]; beams.width()]
                }
                None => {
                    let logits = cache.next_logits(newest).cast(FloatDType::F32);
                    let scores = logits.clone() - logsumexp(logits);
                    let scores = processors.apply(scores, &beams.ids());
                    best_of_rows(scores, beams.candidates_each())?
                }
            };
            let next = beams.advance(&candidates, last)?;
            if beams.is_done() {
                break;
            }
            if let Some(parents) = next.parents {
                cache.keep_texts(&indices(&parents, &self.device));
            }
            if let Some(sources) = next.sources {
                cache.keep_sources(&indices(&sources, &self.device));
            }
            newest = token_column(next.ids, &self.device);
        }
        Ok(beams.into_texts(self.config))
    }
}

/// The searches of all sources, and which of them the rows of the device's batch still work on.
struct Beams {
    sources: Vec<Source>,
    /// The sources on the device; each has `rows_each` rows there.
    on_device: Vec<usize>,
    rows_each: usize,
    search: BeamSearch,
    eos: Vec<u32>,
}

/// What the device does next.
struct Next {
    /// For every new row the old one that it continues; none if that's itself everywhere.
    parents: Option<Vec<usize>>,
    /// The sources to keep, of those on the device; none for all.
    sources: Option<Vec<usize>>,
    /// For every new row its newest id.
    ids: Vec<u32>,
}

impl Beams {
    fn new<D: TextDecoder>(writing: &Writing<'_, D>, search: BeamSearch) -> Self {
        let max_length = writing.config.max_length;
        let source = || Source::new(&writing.prompt, search, max_length);
        Self {
            sources: (0..writing.sources).map(|_| source()).collect(),
            on_device: (0..writing.sources).collect(),
            rows_each: 1,
            search,
            eos: writing.eos.clone(),
        }
    }

    /// Number of rows on the device.
    fn width(&self) -> usize {
        self.on_device.len() * self.rows_each
    }

    fn is_done(&self) -> bool {
        self.sources.iter().all(Source::is_done)
    }

    /// As many continuations of each text as leave, should all end tokens be among them, one for each
    /// beam.
    fn candidates_each(&self) -> usize {
        self.search.beams * (1 + self.eos.len()).max(2)
    }

    /// The ids of every row, from the start token on; none where they don't matter.
    fn ids(&self) -> Vec<&[u32]> {
        let rows = |&source: &usize| self.sources[source].rows(self.rows_each);
        self.on_device.iter().flat_map(rows).collect()
    }

    /// Continues every source with the candidates of its rows.
    fn advance(
        &mut self,
        candidates: &[Vec<Candidate>],
        last: bool,
    ) -> Result<Next, LanguageModelError> {
        let count = self.candidates_each();
        let of_sources = candidates.chunks(self.rows_each);
        for (&index, candidates) in self.on_device.iter().zip(of_sources) {
            self.sources[index].advance(index, candidates, count, &self.eos, last)?;
        }
        Ok(self.next_rows())
    }

    fn next_rows(&mut self) -> Next {
        let (rows_before, rows_each) = (self.rows_each, self.search.beams);
        let sources = self.drop_done();
        let places = sources.clone().unwrap_or_else(|| (0..self.on_device.len()).collect());
        let mut parents = Vec::with_capacity(places.len() * rows_each);
        let mut ids = Vec::with_capacity(parents.capacity());
        for (&place, &source) in places.iter().zip(&self.on_device) {
            for (parent, id) in self.sources[source].continuations(rows_each, rows_before) {
                parents.push(place * rows_before + parent);
                ids.push(id);
            }
        }
        self.rows_each = rows_each;
        let unmoved = rows_before == rows_each && sources.is_none();
        let unmoved = unmoved && parents.iter().enumerate().all(|(row, &parent)| row == parent);
        Next { parents: (!unmoved).then_some(parents), sources, ids }
    }

    /// Drops the sources that are done from the device, once at least half of them are; returns the
    /// places of the others. Their number halves each time, so that the device sees few shapes.
    fn drop_done(&mut self) -> Option<Vec<usize>> {
        let runs = |&place: &usize| !self.sources[self.on_device[place]].is_done();
        let kept: Vec<usize> = (0..self.on_device.len()).filter(runs).collect();
        if kept.is_empty() || 2 * kept.len() > self.on_device.len() {
            return None;
        }
        self.on_device = kept.iter().map(|&place| self.on_device[place]).collect();
        Some(kept)
    }

    fn into_texts(self, config: &GenerationConfig) -> Vec<GeneratedText> {
        let of_source = |(index, source): (usize, Source)| {
            let finished = source.into_finished().into_iter().take(config.returns);
            finished.map(move |(ids, score)| GeneratedText {
                source: index,
                ids,
                score: Some(f64::from(score)),
            })
        };
        self.sources.into_iter().enumerate().flat_map(of_source).collect()
    }
}
