use super::text::GeneratedText;

/// The texts of a generation token by token, and which of them the rows of the device's batch still
/// work on.
pub(super) struct Batch {
    texts: Vec<Text>,
    /// For every row on the device, the index of its text.
    rows: Vec<usize>,
    eos: Vec<u32>,
}

struct Text {
    /// From the start token on, without the end token.
    ids: Vec<u32>,
    score: f64,
    finished: bool,
}

/// The next id of a row and its log-probability, where that is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choice {
    pub id: u32,
    pub log_probability: f64,
}

impl Batch {
    /// Every text begins with `prompt`.
    pub(super) fn new(texts: usize, prompt: &[u32], eos: &[u32]) -> Self {
        let text = || Text { ids: prompt.to_vec(), score: 0.0, finished: false };
        Self {
            texts: (0..texts).map(|_| text()).collect(),
            rows: (0..texts).collect(),
            eos: eos.to_vec(),
        }
    }

    /// Number of rows on the device.
    pub(super) fn width(&self) -> usize {
        self.rows.len()
    }

    /// The text of every row on the device, `None` for a finished one.
    pub(super) fn running(&self) -> impl Iterator<Item = Option<usize>> {
        self.rows.iter().map(|&text| (!self.texts[text].finished).then_some(text))
    }

    /// The ids of every row, from the start token on; none for a finished one.
    pub(super) fn ids(&self) -> Vec<&[u32]> {
        let ids = |text: Option<usize>| text.map_or(&[][..], |text| &self.texts[text].ids[..]);
        self.running().map(ids).collect()
    }

    pub(super) fn is_done(&self) -> bool {
        self.running().all(|text| text.is_none())
    }

    /// Takes the next id of every row on the device.
    pub(super) fn push(&mut self, choices: &[Choice]) {
        for (&row, choice) in self.rows.iter().zip(choices) {
            let text = &mut self.texts[row];
            if text.finished {
                continue;
            }
            text.score += choice.log_probability;
            text.finished = self.eos.contains(&choice.id);
            if !text.finished {
                text.ids.push(choice.id);
            }
        }
    }

    /// The rows to keep, once at least half of them are finished; their number halves each time, so
    /// that the device sees few different shapes.
    pub(super) fn drop_finished(&mut self) -> Option<Vec<usize>> {
        let kept: Vec<usize> =
            self.running().enumerate().filter_map(|(row, text)| text.map(|_| row)).collect();
        if kept.is_empty() || 2 * kept.len() > self.rows.len() {
            return None;
        }
        self.rows = kept.iter().map(|&row| self.rows[row]).collect();
        Some(kept)
    }

    /// `returns` texts belong to each source.
    pub(super) fn into_texts(self, returns: usize, with_scores: bool) -> Vec<GeneratedText> {
        let generated = |(index, mut text): (usize, Text)| GeneratedText {
            source: index / returns,
            ids: text.ids.split_off(1),
            score: with_scores.then_some(text.score),
        };
        self.texts.into_iter().enumerate().map(generated).collect()
    }
}
