use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

/// The token ids of several texts, each as long as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenBatch {
    /// One list for each text, special tokens included.
    pub ids: Vec<Vec<u32>>,
    /// What [`tensors`](Self::tensors) fills up short texts with.
    pub pad_id: u32,
}

impl TokenBatch {
    /// Length of the longest text.
    pub fn longest(&self) -> usize {
        self.ids.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// The ids filled up to `length`, and where they are real: both `[batch, length]`.
    ///
    /// # Panics
    /// If a text is longer than `length`.
    pub fn tensors(&self, length: usize, device: &Device) -> (Tensor<2, Int>, Tensor<2, Bool>) {
        let longest = self.longest();
        assert!(longest <= length, "a text of {longest} tokens does not fit into {length}");
        let shape = [self.ids.len(), length];
        let mut ids = Vec::with_capacity(self.ids.len() * length);
        let mut real = Vec::with_capacity(ids.capacity());
        for text in &self.ids {
            let padding = length - text.len();
            ids.extend(text.iter().map(|&id| i64::from(id)));
            ids.extend(std::iter::repeat_n(i64::from(self.pad_id), padding));
            real.extend(std::iter::repeat_n(true, text.len()));
            real.extend(std::iter::repeat_n(false, padding));
        }
        (
            Tensor::from_data(TensorData::new(ids, shape), device),
            Tensor::from_data(TensorData::new(real, shape), device),
        )
    }
}
