use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use tokenizers::models::unigram::Unigram;
use tokenizers::normalizers::Precompiled;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Tokenizer};

use super::files::BoxedError;
use super::sentence_piece::{Kind, SentencePiece};
use super::special::Name;

/// A space in the vocabulary.
const SPACE: char = '▁';
const EXTRA_IDS: usize = 100;
const MAX_EXTRA_IDS: usize = 10_000;

/// What `tokenizer_config.json` tells about the tokens that a SentencePiece model gets beside its own.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct T5Settings {
    extra_ids: Option<usize>,
    added_tokens_decoder: BTreeMap<u32, AddedToken>,
    #[serde(deserialize_with = "present")]
    additional_special_tokens: Option<Option<Vec<Name>>>,
    #[serde(deserialize_with = "present")]
    extra_special_tokens: Option<Option<Vec<Name>>>,
}

/// Tells an entry that is `null` from one that is missing.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

impl T5Settings {
    /// The special tokens of the settings, if they list any.
    fn listed(&self) -> Option<Vec<AddedToken>> {
        let lists = [&self.extra_special_tokens, &self.additional_special_tokens];
        let list = lists.into_iter().flatten().next()?;
        let names = list.iter().flatten();
        Some(names.map(|name| AddedToken::from(name.text(), true)).collect())
    }
}

/// A tokenizer of a SentencePiece unigram model that treats texts as T5's does in `transformers`:
/// whatever the model says, byte pieces are not used for what the vocabulary lacks, and a word
/// always begins with a space.
pub(super) fn t5_tokenizer(
    model: &SentencePiece<'_>,
    settings: &T5Settings,
) -> Result<Tokenizer, BoxedError> {
    let extra_ids = settings.extra_ids.unwrap_or(EXTRA_IDS);
    if extra_ids > MAX_EXTRA_IDS {
        return Err(format!("{extra_ids} extra_ids are more than {MAX_EXTRA_IDS}").into());
    }
    // Counted from the end: `<extra_id_0>` is the last one.
    let extra: Vec<_> = (0..extra_ids).rev().map(|index| format!("<extra_id_{index}>")).collect();
    let vocabulary = model
        .pieces
        .iter()
        .map(|piece| (piece.text.to_string(), f64::from(piece.score)))
        .chain(extra.iter().map(|token| (token.clone(), 0.0)))
        .collect();
    let unigram = Unigram::from(vocabulary, Some(model.unknown), false)?;
    let mut tokenizer = Tokenizer::new(unigram);
    treat_texts_as_t5(&mut tokenizer, model.charsmap)?;
    add_special_tokens(&mut tokenizer, model, settings, extra)?;
    Ok(tokenizer)
}

/// Sets how `tokenizer` normalises and splits texts, and how it puts them together again.
pub(super) fn treat_texts_as_t5(
    tokenizer: &mut Tokenizer,
    charsmap: Option<&[u8]>,
) -> Result<(), BoxedError> {
    let spaces = Metaspace::new(SPACE, PrependScheme::Always, true);
    let words = Sequence::new(vec![
        PreTokenizerWrapper::WhitespaceSplit(WhitespaceSplit),
        PreTokenizerWrapper::Metaspace(spaces.clone()),
    ]);
    tokenizer
        .with_normalizer(charsmap.map(Precompiled::from).transpose()?)?
        .with_pre_tokenizer(Some(words))
        .with_decoder(Some(spaces));
    Ok(())
}

/// Puts the token `eos` behind every text.
pub(super) fn end_texts(tokenizer: &mut Tokenizer, eos: (String, u32)) -> Result<(), BoxedError> {
    let end = eos.0.as_str();
    let template = TemplateProcessing::builder()
        .try_single(vec!["$A", end])?
        .try_pair(vec!["$A", end, "$B", end])?
        .special_tokens(vec![eos.clone()])
        .build()?;
    tokenizer.with_post_processor(Some(template));
    Ok(())
}

/// The settings' tokens; and beside these the listed ones, else the model's own and the extra ids.
fn add_special_tokens(
    tokenizer: &mut Tokenizer,
    model: &SentencePiece<'_>,
    settings: &T5Settings,
    extra: Vec<String>,
) -> Result<(), BoxedError> {
    tokenizer.add_tokens(settings.added_tokens_decoder.values().cloned())?;
    let mut others = settings.listed().unwrap_or_else(|| own_tokens(model, extra));
    let added = |token: &AddedToken| {
        settings.added_tokens_decoder.values().any(|added| added.content == token.content)
    };
    others.retain(|token| !added(token));
    tokenizer.add_tokens(others)?;
    Ok(())
}

fn own_tokens(model: &SentencePiece<'_>, extra: Vec<String>) -> Vec<AddedToken> {
    let mut tokens: Vec<_> = model
        .pieces
        .iter()
        .filter(|piece| matches!(piece.kind, Kind::Control | Kind::UserDefined))
        .map(|piece| AddedToken::from(piece.text, piece.kind == Kind::Control).normalized(false))
        .collect();
    if !tokens.iter().any(|token| token.content.contains("<extra_id_")) {
        tokens.extend(extra.into_iter().map(|token| AddedToken::from(token, true)));
    }
    tokens
}
