use std::path::PathBuf;

use latent_text_language_model::BartConfig;
use serde::{Deserialize, Serialize};

use crate::data::DatasetConfig;
use crate::noising::NoisingConfig;
use crate::trainer::TrainerConfig;

/// The language model: one that there is, `{ folder = ".." }`, or how to train one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, try_from = "LanguageModelKeys")]
pub enum LanguageModelSection {
    /// A pretrained one (BART, mBART, T5, FLAN-T5 or mT5); the first stage is passed over.
    Given {
        /// A model folder as Hugging Face has it, see
        /// [`LanguageModel::load`](latent_text_language_model::LanguageModel::load). A relative path
        /// starts where those of data sets start.
        folder: PathBuf,
    },
    /// A small BART to be trained, with its tokenizer.
    Trained(Box<LanguageModelTraining>),
}

impl LanguageModelSection {
    /// How it is trained, if it is.
    pub fn training(&self) -> Option<&LanguageModelTraining> {
        match self {
            Self::Given { .. } => None,
            Self::Trained(training) => Some(training),
        }
    }
}

/// How tokenizer and language model are trained.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LanguageModelTraining {
    /// Text sets to train on; `repeat` weighs them.
    pub data: Vec<DatasetConfig>,
    /// Text sets to validate on.
    pub validation: Vec<DatasetConfig>,
    /// Tokens of the byte-level BPE that is learnt from the data; default 4096.
    pub vocabulary: usize,
    /// Shape of the BART model.
    pub model: LanguageModelShape,
    /// BART's corruption.
    pub noising: NoisingConfig,
    /// Steps, batches, optimiser.
    pub training: TrainerConfig,
}

const DEFAULT_VOCABULARY: usize = 4096;

/// What may stand in the section, before it is known which of the two it is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LanguageModelKeys {
    folder: Option<PathBuf>,
    data: Option<Vec<DatasetConfig>>,
    validation: Option<Vec<DatasetConfig>>,
    vocabulary: Option<usize>,
    model: Option<LanguageModelShape>,
    noising: Option<NoisingConfig>,
    training: Option<TrainerConfig>,
}

impl TryFrom<LanguageModelKeys> for LanguageModelSection {
    type Error = String;

    fn try_from(keys: LanguageModelKeys) -> Result<Self, String> {
        let LanguageModelKeys { folder, data, validation, vocabulary, model, noising, training } =
            keys;
        let missing = |key: &str| format!("missing field `{key}` of the language model");
        let Some(folder) = folder else {
            return Ok(Self::Trained(Box::new(LanguageModelTraining {
                data: data.ok_or_else(|| missing("data"))?,
                validation: validation.ok_or_else(|| missing("validation"))?,
                vocabulary: vocabulary.unwrap_or(DEFAULT_VOCABULARY),
                model: model.unwrap_or_default(),
                noising: noising.unwrap_or_default(),
                training: training.ok_or_else(|| missing("training"))?,
            })));
        };
        let others = [
            ("data", data.is_some()),
            ("validation", validation.is_some()),
            ("vocabulary", vocabulary.is_some()),
            ("model", model.is_some()),
            ("noising", noising.is_some()),
            ("training", training.is_some()),
        ];
        match others.iter().find(|(_, present)| *present) {
            None => Ok(Self::Given { folder }),
            Some((key, _)) => Err(format!(
                "a language model from a `folder` is not pretrained; leave out `{key}`, or the folder \
                 (to train it on with the autoencoder, see autoencoder.objective.language_model_training)"
            )),
        }
    }
}

/// The shape of a small BART model; encoder and decoder are alike but for their depth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LanguageModelShape {
    /// Width of the token states; default 256.
    pub d_model: usize,
    /// Encoder layers; default 3.
    pub encoder_layers: usize,
    /// Decoder layers; default 3.
    pub decoder_layers: usize,
    /// Attention heads; default 4.
    pub heads: usize,
    /// Inner width of the feed-forward layers; default 1024.
    pub ffn_dim: usize,
    /// Dropout while the language model trains; default 0.1.
    pub dropout: f64,
}

impl Default for LanguageModelShape {
    fn default() -> Self {
        Self {
            d_model: 256,
            encoder_layers: 3,
            decoder_layers: 3,
            heads: 4,
            ffn_dim: 1024,
            dropout: 0.1,
        }
    }
}

impl LanguageModelShape {
    /// The BART configuration of this shape for a tokenizer of `vocabulary` tokens, under the special
    /// tokens of [`TextTokenizer::train_byte_level_bpe`](latent_text_language_model::TextTokenizer).
    pub fn bart(&self, vocabulary: usize, max_tokens: usize) -> BartConfig {
        BartConfig {
            vocab_size: vocabulary,
            max_position_embeddings: max_tokens,
            d_model: self.d_model,
            encoder_layers: self.encoder_layers,
            decoder_layers: self.decoder_layers,
            encoder_attention_heads: self.heads,
            decoder_attention_heads: self.heads,
            encoder_ffn_dim: self.ffn_dim,
            decoder_ffn_dim: self.ffn_dim,
            dropout: self.dropout,
            ..BartConfig::default()
        }
    }
}
