use std::path::Path;

use serde::{Deserialize, Serialize};
use tokenizers::{AddedToken, Tokenizer};

use crate::LanguageModelError;

/// The ids of the tokens with a meaning of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecialTokens {
    /// In front of every text; T5 has none.
    pub bos: Option<u32>,
    /// Behind every text.
    pub eos: u32,
    /// Fills up short texts.
    pub pad: u32,
    /// Stands for what the vocabulary lacks.
    pub unk: Option<u32>,
    /// Stands for what a model is to fill in.
    pub mask: Option<u32>,
}

/// How the files of a tokenizer name its special tokens.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SpecialNames {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bos_token: Option<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eos_token: Option<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pad_token: Option<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unk_token: Option<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask_token: Option<Name>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Name {
    Text(String),
    Token { content: String },
}

impl Name {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Token { content: text } => text,
        }
    }
}

impl SpecialNames {
    /// The usual names of BART.
    pub(super) fn usual() -> Self {
        let name = |text: &str| Some(Name::Text(text.to_string()));
        Self {
            bos_token: name("<s>"),
            eos_token: name("</s>"),
            pad_token: name("<pad>"),
            unk_token: name("<unk>"),
            mask_token: name("<mask>"),
        }
    }

    /// The usual names of T5, which has no token in front of texts and none to fill in.
    pub(super) fn usual_of_t5() -> Self {
        Self { bos_token: None, mask_token: None, ..Self::usual() }
    }

    /// These names, and those of `other` where there are none.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            bos_token: self.bos_token.or(other.bos_token),
            eos_token: self.eos_token.or(other.eos_token),
            pad_token: self.pad_token.or(other.pad_token),
            unk_token: self.unk_token.or(other.unk_token),
            mask_token: self.mask_token.or(other.mask_token),
        }
    }

    /// The names of `tokens`, for the files.
    pub(super) fn of(tokens: SpecialTokens, tokenizer: &Tokenizer) -> Self {
        let name = |id: Option<u32>| id.and_then(|id| tokenizer.id_to_token(id)).map(Name::Text);
        Self {
            bos_token: name(tokens.bos),
            eos_token: name(Some(tokens.eos)),
            pad_token: name(Some(tokens.pad)),
            unk_token: name(tokens.unk),
            mask_token: name(tokens.mask),
        }
    }

    /// Finds the ids and sees to it that `tokenizer` treats the tokens as special.
    pub(super) fn find_in(
        &self,
        tokenizer: &mut Tokenizer,
        path: &Path,
    ) -> Result<SpecialTokens, LanguageModelError> {
        let mut find = |name: &Option<Name>| -> Result<Option<u32>, LanguageModelError> {
            let Some(name) = name else { return Ok(None) };
            let Some(id) = tokenizer.token_to_id(name.text()) else { return Ok(None) };
            if !tokenizer.get_added_vocabulary().is_special_token(name.text()) {
                tokenizer.add_special_tokens([AddedToken::from(name.text(), true)]).map_err(
                    |source| LanguageModelError::Tokenizer { path: path.to_path_buf(), source },
                )?;
            }
            Ok(Some(id))
        };
        let bos = find(&self.bos_token)?;
        let eos = find(&self.eos_token)?;
        let pad = find(&self.pad_token)?;
        let unk = find(&self.unk_token)?;
        let mask = find(&self.mask_token)?;
        Ok(SpecialTokens {
            bos,
            eos: needed(eos, "end-of-text", &self.eos_token, path)?,
            pad: needed(pad, "pad", &self.pad_token, path)?,
            unk,
            mask,
        })
    }

    /// The token in front of every text with its id, where a tokenizer can't do without.
    pub(super) fn bos_in(
        &self,
        tokens: SpecialTokens,
        path: &Path,
    ) -> Result<(String, u32), LanguageModelError> {
        let id = needed(tokens.bos, "begin-of-text", &self.bos_token, path)?;
        Ok((text(&self.bos_token), id))
    }

    /// The token behind every text with its id.
    pub(super) fn eos_in(&self, tokens: SpecialTokens) -> (String, u32) {
        (text(&self.eos_token), tokens.eos)
    }
}

fn text(name: &Option<Name>) -> String {
    name.as_ref().map_or("", Name::text).to_string()
}

fn needed(
    id: Option<u32>,
    role: &'static str,
    name: &Option<Name>,
    path: &Path,
) -> Result<u32, LanguageModelError> {
    id.ok_or_else(|| LanguageModelError::MissingToken {
        path: path.to_path_buf(),
        role,
        token: text(name),
    })
}
