use std::collections::HashSet;

use super::charsmap::{self, CharsmapError};
use super::wire::{Fields, Value, WireError};

/// What this crate needs of a SentencePiece unigram model, borrowed from the file's bytes.
#[derive(Debug)]
pub(super) struct SentencePiece<'a> {
    /// The vocabulary; places are ids.
    pub pieces: Vec<Piece<'a>>,
    /// The id of what the vocabulary lacks.
    pub unknown: usize,
    /// How texts are normalised, if they are.
    pub charsmap: Option<&'a [u8]>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Piece<'a> {
    pub text: &'a str,
    /// The logarithm of its probability.
    pub score: f32,
    pub kind: Kind,
}

/// What a piece is for; bytes and pieces out of use are ordinary ones here, as in `transformers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Ordinary,
    Unknown,
    Control,
    UserDefined,
}

/// Why a SentencePiece model can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SentencePieceError {
    #[error("it is no SentencePiece model")]
    Wire(#[from] WireError),
    #[error("its field {field} of the {message} does not hold what it should")]
    Type { message: &'static str, field: u64 },
    #[error("it is a model of type {0}; only unigram models (type 1) are supported")]
    NotUnigram(u64),
    #[error("its piece {0} is empty, too long, not UTF-8, or has no finite score")]
    Piece(usize),
    #[error("it has the piece `{0}` twice")]
    Twice(String),
    #[error("its vocabulary has no unknown token at {0}")]
    Unknown(u64),
    #[error("it can't normalise texts")]
    Charsmap(#[from] CharsmapError),
}

/// The longest piece in bytes; the vocabulary's tree has a level for each.
pub(super) const MAX_PIECE: usize = 1024;
const UNIGRAM: u64 = 1;

impl<'a> SentencePiece<'a> {
    /// Reads the bytes of a model: a protobuf message of the schema `sentencepiece_model.proto`.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, SentencePieceError> {
        let mut pieces = Vec::new();
        let mut kind = UNIGRAM;
        let mut unknown = 0;
        let mut charsmap = None;
        for field in Fields::of(bytes) {
            match field? {
                (1, Value::Bytes(piece)) => pieces.push(Piece::read(piece, pieces.len())?),
                (2, Value::Bytes(trainer)) => read_trainer(trainer, &mut kind, &mut unknown)?,
                (3, Value::Bytes(normalizer)) => read_normalizer(normalizer, &mut charsmap)?,
                (field @ 1..=3, _) => {
                    return Err(SentencePieceError::Type { message: "model", field });
                }
                _ => {}
            }
        }
        if kind != UNIGRAM {
            return Err(SentencePieceError::NotUnigram(kind));
        }
        check_vocabulary(&pieces)?;
        let place = usize::try_from(unknown).ok();
        let unknown = place
            .filter(|&place| pieces.get(place).is_some_and(|piece| piece.kind == Kind::Unknown))
            .ok_or(SentencePieceError::Unknown(unknown))?;
        let charsmap = charsmap.filter(|charsmap: &&[u8]| !charsmap.is_empty());
        charsmap.map_or(Ok(()), charsmap::check)?;
        Ok(Self { pieces, unknown, charsmap })
    }
}

impl<'a> Piece<'a> {
    fn read(message: &'a [u8], place: usize) -> Result<Self, SentencePieceError> {
        let mut piece = Self { text: "", score: 0.0, kind: Kind::Ordinary };
        for field in Fields::of(message) {
            match field? {
                (1, Value::Bytes(text)) => {
                    piece.text =
                        str::from_utf8(text).map_err(|_| SentencePieceError::Piece(place))?;
                }
                (2, Value::Fixed32(score)) => piece.score = f32::from_le_bytes(score),
                (3, Value::Integer(kind)) => piece.kind = Kind::from_number(kind),
                (field @ 1..=3, _) => {
                    return Err(SentencePieceError::Type { message: "piece", field });
                }
                _ => {}
            }
        }
        let usable = !piece.text.is_empty() && piece.text.len() <= MAX_PIECE;
        if !usable || !piece.score.is_finite() {
            return Err(SentencePieceError::Piece(place));
        }
        Ok(piece)
    }
}

impl Kind {
    fn from_number(number: u64) -> Self {
        match number {
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            _ => Self::Ordinary,
        }
    }
}

fn read_trainer(
    message: &[u8],
    kind: &mut u64,
    unknown: &mut u64,
) -> Result<(), SentencePieceError> {
    for field in Fields::of(message) {
        match field? {
            (3, Value::Integer(number)) => *kind = number,
            (40, Value::Integer(id)) => *unknown = id,
            (field @ (3 | 40), _) => {
                return Err(SentencePieceError::Type { message: "trainer", field });
            }
            _ => {}
        }
    }
    Ok(())
}

fn read_normalizer<'a>(
    message: &'a [u8],
    charsmap: &mut Option<&'a [u8]>,
) -> Result<(), SentencePieceError> {
    for field in Fields::of(message) {
        match field? {
            (2, Value::Bytes(table)) => *charsmap = Some(table),
            (field @ 2, _) => {
                return Err(SentencePieceError::Type { message: "normaliser", field });
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_vocabulary(pieces: &[Piece<'_>]) -> Result<(), SentencePieceError> {
    let mut seen = HashSet::with_capacity(pieces.len());
    match pieces.iter().find(|piece| !seen.insert(piece.text)) {
        Some(twice) => Err(SentencePieceError::Twice(twice.text.to_string())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(text: &str, kind: u8) -> Vec<u8> {
        let mut message = vec![0x0a, text.len() as u8];
        message.extend(text.as_bytes());
        message.push(0x15);
        message.extend((-1.5_f32).to_le_bytes());
        message.extend([0x18, kind]);
        [&[0x0a, message.len() as u8][..], &message].concat()
    }

    fn model(trainer: &[u8]) -> Vec<u8> {
        let trainer = [&[0x12, trainer.len() as u8][..], trainer].concat();
        [piece("<unk>", 2), piece("</s>", 3), piece("a", 1), piece("<x>", 4), trainer].concat()
    }

    #[test]
    fn a_model_is_read() {
        let bytes = model(&[0x18, 1]);
        let read = SentencePiece::read(&bytes).unwrap();
        let texts: Vec<_> = read.pieces.iter().map(|piece| piece.text).collect();
        assert_eq!(texts, ["<unk>", "</s>", "a", "<x>"]);
        let kinds: Vec<_> = read.pieces.iter().map(|piece| piece.kind).collect();
        assert_eq!(kinds, [Kind::Unknown, Kind::Control, Kind::Ordinary, Kind::UserDefined]);
        assert!(read.pieces.iter().all(|piece| piece.score == -1.5));
        assert_eq!((read.unknown, read.charsmap), (0, None));
    }

    #[test]
    fn models_of_other_kinds_are_refused() {
        let refused = |bytes: Vec<u8>| SentencePiece::read(&bytes).unwrap_err().to_string();
        assert!(refused(model(&[0x18, 2])).contains("type 2"));
        assert!(refused(model(&[0xc0, 0x02, 2])).contains("no unknown token at 2"));
        assert!(refused(model(&[0xc0, 0x02, 9])).contains("no unknown token at 9"));
        assert!(refused(model(&[0xc5, 0x02, 0, 0, 0, 0])).contains("field 40 of the trainer"));
        assert!(refused(vec![]).contains("no unknown token at 0"));
        assert!(refused([model(&[]), piece("a", 1)].concat()).contains("`a` twice"));
        assert!(refused([model(&[]), piece("", 1)].concat()).contains("piece 4"));
        assert!(refused(vec![0x08, 1]).contains("field 1 of the model"));
    }
}
