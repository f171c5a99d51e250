/// A text that a model has written.
#[derive(Debug, Clone, PartialEq)]
pub struct GeneratedText {
    /// The source, a row of the encoder's states, that it was written for.
    pub source: usize,
    /// Its ids: the prefix and what was chosen, without the start token, and without the end token and
    /// what would follow it.
    pub ids: Vec<u32>,
    /// The sum of the log-probabilities, in nats and after all settings have changed them, of the
    /// chosen ids, the end token included. In a beam search it is divided by the number of these ids to
    /// the power of the length penalty, and the settings change the log-probabilities without making
    /// them sum to 1 again, as in `transformers`. Given by a beam search, else if asked for.
    pub score: Option<f64>,
}

/// An id that was chosen just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewToken {
    /// Index of its text in what [`generate`](crate::EncoderDecoder::generate) returns.
    pub text: usize,
    /// The id; an end token says that the text is finished.
    pub id: u32,
}
