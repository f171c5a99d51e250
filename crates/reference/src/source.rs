//! What reads the source texts of a sequence-to-sequence model.

use std::path::Path;

use burn::tensor::Device;
use latent_text_generation::{SourceConfig, SourceEncoder};
use latent_text_language_model::{EncoderDecoder, LanguageModel};
use latent_text_nn::weights::TensorFile;

use crate::arguments::Arguments;
use crate::run::Run;
use crate::{ReferenceError, autoencoder};

/// The encoder that a diffusion model was trained with.
const PREFIX: &str = "ema_model.context_encoder.";
const ENCODER: &str = "enc_dec_model";

/// The published code cuts the articles of XSum behind so many times the tokens of other texts.
const XSUM_FACTOR: usize = 4;

/// The parts of a model from which the encoder of sources is made.
pub(crate) struct Parts<'a> {
    pub(crate) arguments: &'a Arguments,
    /// The running averages of the diffusion run.
    pub(crate) averages: &'a TensorFile,
    pub(crate) autoencoder: &'a Run,
    pub(crate) language_model: &'a LanguageModel,
    /// The folder of the language model whose encoder it is, if given.
    pub(crate) folder: Option<&'a Path>,
    pub(crate) max_tokens: Option<usize>,
}

impl Parts<'_> {
    /// How sources are read, and the language model that does it unless it is the autoencoder's.
    pub(crate) fn read(
        &self,
        device: &Device,
    ) -> Result<(SourceConfig, Option<LanguageModel>), ReferenceError> {
        let max_tokens = self.max_tokens()?;
        let config = |encoder| SourceConfig { encoder, max_tokens };
        let mut reader = match self.folder {
            Some(folder) => LanguageModel::load(folder, device)?,
            None => {
                self.check_same_model()?;
                if self.is_autoencoders()? {
                    return Ok((config(SourceEncoder::Autoencoder), None));
                }
                self.language_model.clone()
            }
        };
        reader.model = reader.model.with_encoder_from(self.averages, PREFIX)?;
        Ok((config(SourceEncoder::Own), Some(reader)))
    }

    /// The most tokens of a source, which depend on the data set.
    fn max_tokens(&self) -> Result<usize, ReferenceError> {
        if let Some(max_tokens) = self.max_tokens {
            return Ok(max_tokens);
        }
        let meaning = "the most tokens of a text";
        let of_text = || self.arguments.needed::<usize>("max_seq_len", meaning);
        let dataset: Option<String> = self.arguments.given("dataset_name")?;
        match dataset.as_deref() {
            Some("xsum") => Ok(of_text()?.saturating_mul(XSUM_FACTOR)),
            Some(name) if name == "qqp" || name.starts_with("wmt14") => of_text(),
            other => Err(ReferenceError::NotGiven {
                needed: format!(
                    "the checkpoint does not say how long sources of the data set `{}` may be",
                    other.unwrap_or("without a name")
                ),
                advice: "give the most tokens of a source",
            }),
        }
    }

    /// Checks that sources are read by a language model of the autoencoder's name.
    fn check_same_model(&self) -> Result<(), ReferenceError> {
        let meaning = "which language model reads sources";
        let of_sources: String = self.arguments.needed(ENCODER, meaning)?;
        let of_texts: Option<String> = self.autoencoder.arguments.given(ENCODER)?;
        if of_texts.as_ref() == Some(&of_sources) {
            return Ok(());
        }
        Err(ReferenceError::NotGiven {
            needed: format!(
                "sources are read by `{of_sources}`, the autoencoder's language model is `{}`",
                of_texts.as_deref().unwrap_or("unknown")
            ),
            advice: "give the folder of the former, with its weights",
        })
    }

    /// Whether the encoder of sources is the autoencoder's, to the last bit.
    fn is_autoencoders(&self) -> Result<bool, ReferenceError> {
        let theirs = match self.language_model.model {
            EncoderDecoder::Bart(_) => "model.encoder.",
            EncoderDecoder::T5(_) => "encoder.",
        };
        let autoencoder = autoencoder::language_model_tensors(self.autoencoder)?;
        let (own, other) = (names(self.averages, PREFIX), names(&autoencoder, theirs));
        if own != other {
            return Ok(false);
        }
        for name in own {
            let (own, other) = (format!("{PREFIX}{name}"), format!("{theirs}{name}"));
            if self.averages.shape(&own) != autoencoder.shape(&other)
                || self.averages.floats(&own)? != autoencoder.floats(&other)?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// What follows a prefix in the names that have it.
fn names(file: &TensorFile, prefix: &str) -> Vec<String> {
    let all = file.names().into_iter();
    all.filter_map(|name| name.strip_prefix(prefix).map(str::to_string)).collect()
}
