//! Texts while they are being written.

use crate::language_model::WrittenText;
use crate::{LanguageModel, LanguageModelError, NewToken};

/// What stands for bytes that make no character, as those of a character that is not complete yet.
const INCOMPLETE: char = '\u{FFFD}';

/// A piece of a text that is certain now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewText {
    /// Index of the text in what [`LanguageModel::write_streaming`] returns.
    pub text: usize,
    /// What comes behind the pieces before.
    pub piece: String,
}

/// Turns the tokens of several texts into pieces of text.
pub(crate) struct TextStreams<'a> {
    model: &'a LanguageModel,
    texts: Vec<Stream>,
}

#[derive(Clone)]
struct Stream {
    ids: Vec<u32>,
    /// What has been told of.
    told: String,
}

impl<'a> TextStreams<'a> {
    /// Every text begins with `prefix`.
    pub(crate) fn new(model: &'a LanguageModel, texts: usize, prefix: &[u32]) -> Self {
        let stream = Stream { ids: prefix.to_vec(), told: String::new() };
        Self { model, texts: vec![stream; texts] }
    }

    /// The piece that `token` completes, if it does.
    pub(crate) fn push(&mut self, token: NewToken) -> Result<Option<NewText>, LanguageModelError> {
        let stream = &mut self.texts[token.text];
        stream.ids.push(token.id);
        let text = self.model.tokenizer.decode(&stream.ids)?;
        if text.ends_with(INCOMPLETE) {
            return Ok(None);
        }
        Ok(stream.tell(token.text, &text))
    }

    /// The rests of the texts, which are known now.
    pub(crate) fn finish(mut self, written: &[WrittenText]) -> Vec<NewText> {
        let rest = |(index, (stream, written)): (usize, (&mut Stream, &WrittenText))| {
            stream.tell(index, &written.text)
        };
        self.texts.iter_mut().zip(written).enumerate().filter_map(rest).collect()
    }
}

impl Stream {
    /// What `text` has beyond what has been told of. Nothing if that has changed meanwhile, as spaces in
    /// front of punctuation do.
    fn tell(&mut self, index: usize, text: &str) -> Option<NewText> {
        let piece = text.strip_prefix(&self.told).filter(|piece| !piece.is_empty())?.to_string();
        self.told.push_str(&piece);
        Some(NewText { text: index, piece })
    }
}
