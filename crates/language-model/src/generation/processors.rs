use std::collections::BTreeSet;

use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData};

use super::GenerationConfig;

/// Added to the score of a token that may not come: far below any real score, yet finite, because not
/// every backend computes with infinities.
pub(super) const FORBIDDEN: f32 = -1e30;

/// The lists of ids are filled up to a multiple of this, so that the device sees few shapes.
const BLOCK: usize = 8;

/// Changes the scores of next tokens by what texts already have. The steps and their order are those
/// of `transformers`.
pub(super) struct Processors {
    repetition_penalty: f64,
    no_repeat_ngram_size: usize,
    bad_words: Vec<Vec<u32>>,
    min_length: usize,
    eos: Vec<u32>,
}

impl Processors {
    pub(super) fn new(config: &GenerationConfig, eos: &[u32]) -> Self {
        let ends_text = |word: &Vec<u32>| matches!(word[..], [id] if eos.contains(&id));
        Self {
            repetition_penalty: config.repetition_penalty,
            no_repeat_ngram_size: config.no_repeat_ngram_size,
            bad_words: config.bad_words.iter().filter(|word| !ends_text(word)).cloned().collect(),
            min_length: config.min_length,
            eos: eos.to_vec(),
        }
    }

    /// Processes scores `[rows, vocabulary]`; `texts` has the ids of every row from the start token
    /// on, and nothing for a row whose scores don't matter.
    pub(super) fn apply(&self, scores: Tensor<2>, texts: &[&[u32]]) -> Tensor<2> {
        let scores = self.penalise_repetition(scores, texts);
        let forbidden = texts.iter().map(|text| self.forbidden(text)).collect::<Vec<_>>();
        match Marked::new(&forbidden, &scores.device()) {
            Some(marked) => marked.add(scores, marked.are_real.clone() * FORBIDDEN),
            None => scores,
        }
    }

    fn penalise_repetition(&self, scores: Tensor<2>, texts: &[&[u32]]) -> Tensor<2> {
        if self.repetition_penalty == 1.0 {
            return scores;
        }
        let seen: Vec<BTreeSet<u32>> =
            texts.iter().map(|text| text.iter().copied().collect()).collect();
        let Some(marked) = Marked::new(&seen, &scores.device()) else { return scores };
        let old = scores.clone().gather(1, marked.ids.clone());
        let lower = old.clone() * self.repetition_penalty;
        let new =
            (old.clone() / self.repetition_penalty).mask_where(old.clone().lower_elem(0.0), lower);
        marked.add(scores, (new - old) * marked.are_real.clone())
    }

    /// The ids that may not follow `text`.
    fn forbidden(&self, text: &[u32]) -> BTreeSet<u32> {
        let mut forbidden = BTreeSet::new();
        if text.is_empty() {
            return forbidden;
        }
        forbidden.extend(self.would_repeat(text));
        forbidden.extend(self.would_complete_bad_word(text));
        if text.len() < self.min_length {
            forbidden.extend(&self.eos);
        }
        forbidden
    }

    fn would_repeat(&self, text: &[u32]) -> impl Iterator<Item = u32> {
        let size = self.no_repeat_ngram_size;
        let begun = text.len().checked_sub(size.saturating_sub(1)).map(|first| &text[first..]);
        let ngrams = if size == 0 { [].windows(1) } else { text.windows(size) };
        ngrams.filter_map(move |ngram| {
            let (&last, before) = ngram.split_last()?;
            (Some(before) == begun).then_some(last)
        })
    }

    fn would_complete_bad_word(&self, text: &[u32]) -> impl Iterator<Item = u32> {
        self.bad_words.iter().filter_map(move |word| {
            let (&last, before) = word.split_last()?;
            text.ends_with(before).then_some(last)
        })
    }
}

/// Some ids of every row.
struct Marked {
    /// `[rows, width]`; short rows are filled up.
    ids: Tensor<2, Int>,
    /// `[rows, width]`: 1 at the ids, 0 at the filling.
    are_real: Tensor<2>,
}

impl Marked {
    /// None if no row has any.
    fn new(rows: &[BTreeSet<u32>], device: &Device) -> Option<Self> {
        let longest = rows.iter().map(BTreeSet::len).max().filter(|&longest| longest > 0)?;
        let width = longest.next_multiple_of(BLOCK);
        let shape = [rows.len(), width];
        let mut ids = Vec::with_capacity(rows.len() * width);
        let mut are_real = Vec::with_capacity(rows.len() * width);
        for row in rows {
            let filling = width - row.len();
            ids.extend(row.iter().map(|&id| i64::from(id)));
            ids.extend(std::iter::repeat_n(0, filling));
            are_real.extend(std::iter::repeat_n(1_f32, row.len()));
            are_real.extend(std::iter::repeat_n(0_f32, filling));
        }
        Some(Self {
            ids: Tensor::from_data(TensorData::new(ids, shape), device),
            are_real: Tensor::from_data(TensorData::new(are_real, shape), device),
        })
    }

    /// Adds `values` `[rows, width]`, which are 0 at the filling, to the scores of the marked ids.
    fn add(&self, scores: Tensor<2>, values: Tensor<2>) -> Tensor<2> {
        scores.scatter(1, self.ids.clone(), values, IndexingUpdateOp::Add)
    }
}
