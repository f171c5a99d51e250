use burn::tensor::{Device, Int, Tensor, TensorData};

/// The texts of a generation, and which of them the rows of the device's batch still work on.
pub(super) struct Batch {
    texts: Vec<Text>,
    /// For every row on the device, the index of its text.
    rows: Vec<usize>,
    eos: u32,
}

#[derive(Clone, Default)]
struct Text {
    ids: Vec<u32>,
    finished: bool,
}

impl Batch {
    pub(super) fn new(rows: usize, eos: u32) -> Self {
        Self { texts: vec![Text::default(); rows], rows: (0..rows).collect(), eos }
    }

    /// Number of rows on the device.
    pub(super) fn width(&self) -> usize {
        self.rows.len()
    }

    /// The text of every row on the device, `None` for a finished one.
    pub(super) fn running(&self) -> impl Iterator<Item = Option<usize>> {
        self.rows.iter().map(|&text| (!self.texts[text].finished).then_some(text))
    }

    pub(super) fn is_done(&self) -> bool {
        self.running().all(|text| text.is_none())
    }

    /// Takes the next id of every row on the device.
    pub(super) fn push(&mut self, ids: &[u32]) {
        for (&row, &id) in self.rows.iter().zip(ids) {
            let text = &mut self.texts[row];
            text.finished |= id == self.eos;
            if !text.finished {
                text.ids.push(id);
            }
        }
    }

    /// The rows to keep, once at least half of them are finished; their number halves each time, so
    /// that the device sees few different shapes.
    pub(super) fn drop_finished(&mut self, device: &Device) -> Option<Tensor<1, Int>> {
        let kept: Vec<usize> =
            self.running().enumerate().filter_map(|(row, text)| text.map(|_| row)).collect();
        if kept.is_empty() || 2 * kept.len() > self.rows.len() {
            return None;
        }
        self.rows = kept.iter().map(|&row| self.rows[row]).collect();
        let indices: Vec<i64> = kept.into_iter().map(|row| row as i64).collect();
        let count = indices.len();
        Some(Tensor::from_data(TensorData::new(indices, [count]), device))
    }

    pub(super) fn into_texts(self) -> Vec<Vec<u32>> {
        self.texts.into_iter().map(|text| text.ids).collect()
    }
}
