use crate::LanguageModelError;
use crate::generation::best::Candidate;
use crate::generation::processors::FORBIDDEN;
use crate::generation::{BeamSearch, EarlyStopping};

/// The search for one source's texts.
///
/// The decisions and their arithmetic, in f32, are those of `transformers`' beam search, from which
/// the texts can differ by a rounding otherwise.
pub(super) struct Source {
    /// The best first.
    running: Vec<Running>,
    /// The best first, at most as many as beams.
    finished: Vec<Finished>,
    search: BeamSearch,
    prompt_length: usize,
    max_length: usize,
    done: bool,
}

/// A text that is being written.
struct Running {
    /// From the start token on.
    ids: Vec<u32>,
    /// The sum of its log-probabilities.
    score: f32,
    /// Its row among those of its source, before the newest id.
    parent: usize,
}

struct Finished {
    ids: Vec<u32>,
    score: f32,
}

/// A text with one id more than a running one.
#[derive(Clone, Copy)]
struct Continuation {
    parent: usize,
    id: u32,
    score: f32,
}

impl Source {
    pub(super) fn new(prompt: &[u32], search: BeamSearch, max_length: usize) -> Self {
        Self {
            running: vec![Running { ids: prompt.to_vec(), score: 0.0, parent: 0 }],
            finished: Vec::new(),
            search,
            prompt_length: prompt.len(),
            max_length,
            done: false,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// The ids of its so many rows; nothing for rows without a text.
    pub(super) fn rows(&self, count: usize) -> impl Iterator<Item = &[u32]> {
        let running = if self.done { &[] } else { &self.running[..] };
        let rows = running.iter().map(|text| &text.ids[..]);
        rows.chain(std::iter::repeat(&[][..])).take(count)
    }

    /// For each of its so many rows, the one of its `before` rows that it continues and the id that
    /// it continues it with. Rows without a text go on with anything.
    pub(super) fn continuations(
        &self,
        count: usize,
        before: usize,
    ) -> impl Iterator<Item = (usize, u32)> {
        let running = if self.done { &[] } else { &self.running[..] };
        (0..count).map(move |row| match running.get(row) {
            Some(text) => (text.parent, *text.ids.last().unwrap_or(&0)),
            None => (row.min(before - 1), 0),
        })
    }

    /// Takes the candidates of each row, best first, and goes on with the best `count` texts that they
    /// make; `last` says that texts are full with them.
    pub(super) fn advance(
        &mut self,
        index: usize,
        candidates: &[Vec<Candidate>],
        count: usize,
        eos: &[u32],
        last: bool,
    ) -> Result<(), LanguageModelError> {
        if self.done {
            return Ok(());
        }
        let best = self.best_continuations(index, candidates, count)?;
        let ends = |continuation: &Continuation| last || eos.contains(&continuation.id);
        self.finish(best.iter().take(self.search.beams).copied().filter(ends), eos);
        let running = best.iter().filter(|continuation| !ends(continuation));
        let running = running.take(self.search.beams).map(|continuation| self.grown(continuation));
        self.running = running.collect();
        self.done = self.running.is_empty() || !self.is_worth_going_on();
        Ok(())
    }

    fn best_continuations(
        &self,
        index: usize,
        candidates: &[Vec<Candidate>],
        count: usize,
    ) -> Result<Vec<Continuation>, LanguageModelError> {
        let mut all = Vec::with_capacity(self.running.len() * count);
        for (parent, (text, candidates)) in self.running.iter().zip(candidates).enumerate() {
            if candidates.iter().any(|candidate| !candidate.score.is_finite()) {
                return Err(LanguageModelError::NotFinite { row: index });
            }
            let possible = candidates.iter().filter(|candidate| candidate.score > FORBIDDEN / 2.0);
            all.extend(possible.map(|candidate| Continuation {
                parent,
                id: candidate.id,
                score: candidate.score + text.score,
            }));
        }
        if all.is_empty() && self.finished.is_empty() {
            return Err(LanguageModelError::NoContinuation { source_index: index });
        }
        // Stable: of equal ones, the better text's comes first.
        all.sort_by(|a, b| b.score.total_cmp(&a.score));
        all.truncate(count);
        Ok(all)
    }

    fn grown(&self, continuation: &Continuation) -> Running {
        let Continuation { parent, id, score } = *continuation;
        let mut ids = self.running[parent].ids.clone();
        ids.push(id);
        Running { ids, score, parent }
    }

    /// Adds the texts that have just ended, unless the search has already seen enough.
    fn finish(&mut self, ended: impl Iterator<Item = Continuation>, eos: &[u32]) {
        let length = self.length() + 1;
        let penalty = self.penalty(length);
        for continuation in ended {
            let mut ids = self.running[continuation.parent].ids.clone();
            if !eos.contains(&continuation.id) {
                ids.push(continuation.id);
            }
            self.finished.push(Finished { ids, score: continuation.score / penalty });
        }
        self.finished.sort_by(|a, b| b.score.total_cmp(&a.score));
        self.finished.truncate(self.search.beams);
    }

    /// Whether an unfinished text could still become better than the finished ones.
    fn is_worth_going_on(&self) -> bool {
        if self.finished.len() < self.search.beams {
            return true;
        }
        let (Some(best), Some(worst)) = (self.running.first(), self.finished.last()) else {
            return false;
        };
        let length = match self.search.early_stopping {
            EarlyStopping::First => return false,
            EarlyStopping::Never if self.search.length_penalty > 0.0 => self.max_length,
            EarlyStopping::Never | EarlyStopping::Heuristic => self.length(),
        };
        best.score / self.penalty(length) > worst.score
    }

    /// Number of ids of the running texts, with the start token.
    fn length(&self) -> usize {
        self.running.first().map_or(self.prompt_length, |text| text.ids.len())
    }

    /// What the sum of the log-probabilities of a text of so many ids is divided by.
    fn penalty(&self, length: usize) -> f32 {
        ((length - self.prompt_length) as f64).powf(self.search.length_penalty) as f32
    }

    /// The ids of the finished texts without the start token, and their scores, best first.
    pub(super) fn into_finished(self) -> Vec<(Vec<u32>, f32)> {
        self.finished.into_iter().map(|mut text| (text.ids.split_off(1), text.score)).collect()
    }
}
