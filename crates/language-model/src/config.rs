use std::path::Path;

use burn::tensor::{FloatDType, Tensor, activation};
use serde::{Deserialize, Serialize};

use crate::LanguageModelError;
use crate::files::{parse_json, read_text, write_json};

pub(crate) const CONFIG_FILE: &str = "config.json";
pub(crate) const GENERATION_FILE: &str = "generation_config.json";
const MODEL_TYPE: &str = "bart";

/// The shape of a BART model, as Hugging Face's `config.json` has it.
///
/// Entries that this crate does not know are ignored; entries that are absent have the defaults of
/// `transformers`, which are those of BART-large.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BartConfig {
    /// Number of token ids. Default 50265.
    pub vocab_size: usize,
    /// Longest text in tokens; the position tables have two rows more. Default 1024.
    pub max_position_embeddings: usize,
    /// Width of the token states. Default 1024.
    pub d_model: usize,
    /// Number of encoder layers. Default 12.
    pub encoder_layers: usize,
    /// Inner width of the encoder's feed-forward layers. Default 4096.
    pub encoder_ffn_dim: usize,
    /// Heads of the encoder's attention; must divide `d_model`. Default 16.
    pub encoder_attention_heads: usize,
    /// Number of decoder layers. Default 12.
    pub decoder_layers: usize,
    /// Inner width of the decoder's feed-forward layers. Default 4096.
    pub decoder_ffn_dim: usize,
    /// Heads of the decoder's attention; must divide `d_model`. Default 16.
    pub decoder_attention_heads: usize,
    /// Activation of the feed-forward layers. Default GELU.
    pub activation_function: Activation,
    /// Dropout of embeddings and of each sub-layer's output, in `[0, 1)`. Default 0.1.
    pub dropout: f64,
    /// Dropout of attention probabilities, in `[0, 1)`. Default 0.
    pub attention_dropout: f64,
    /// Dropout inside the feed-forward layers, in `[0, 1)`. Default 0.
    pub activation_dropout: f64,
    /// Standard deviation of freshly drawn weights. Default 0.02.
    pub init_std: f64,
    /// Whether token embeddings are multiplied by the root of `d_model`. Default false.
    pub scale_embedding: bool,
    /// Must be true: the output layer shares the weights of the token embedding. Default true.
    pub tie_word_embeddings: bool,
    /// Id that fills up short texts. Default 1.
    pub pad_token_id: u32,
    /// Id in front of every text. Default 0.
    pub bos_token_id: u32,
    /// Id behind every text. Default 2.
    pub eos_token_id: u32,
    /// Id that the decoder sees first. Default 2.
    pub decoder_start_token_id: u32,
    /// Id that every generated text begins with. Default none.
    pub forced_bos_token_id: Option<u32>,
    /// Id that takes the last place of a generated text that reaches its maximal length. Default 2.
    pub forced_eos_token_id: Option<u32>,
}

impl Default for BartConfig {
    fn default() -> Self {
        Self {
            vocab_size: 50265,
            max_position_embeddings: 1024,
            d_model: 1024,
            encoder_layers: 12,
            encoder_ffn_dim: 4096,
            encoder_attention_heads: 16,
            decoder_layers: 12,
            decoder_ffn_dim: 4096,
            decoder_attention_heads: 16,
            activation_function: Activation::Gelu,
            dropout: 0.1,
            attention_dropout: 0.0,
            activation_dropout: 0.0,
            init_std: 0.02,
            scale_embedding: false,
            tie_word_embeddings: true,
            pad_token_id: 1,
            bos_token_id: 0,
            eos_token_id: 2,
            decoder_start_token_id: 2,
            forced_bos_token_id: None,
            forced_eos_token_id: Some(2),
        }
    }
}

/// Activation of the feed-forward layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// GELU by the error function.
    Gelu,
    /// `max(x, 0)`.
    Relu,
}

impl Activation {
    pub(crate) fn apply<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Gelu => activation::gelu(x),
            Self::Relu => activation::relu(x),
        }
    }
}

/// An entry of a configuration that no model can have, alone or beside the others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{entry}` is {value}, but it must {requirement}")]
pub struct InvalidConfig {
    /// Name of the entry.
    pub entry: &'static str,
    /// Its value.
    pub value: String,
    /// What it must be instead.
    pub requirement: String,
}

impl InvalidConfig {
    pub(crate) fn new(
        entry: &'static str,
        value: impl ToString,
        requirement: impl ToString,
    ) -> Self {
        Self { entry, value: value.to_string(), requirement: requirement.to_string() }
    }
}

impl BartConfig {
    /// Reads `config.json` of a model folder. If there is a `generation_config.json` too, the start
    /// token and the forced tokens are taken from there, as `transformers` does.
    ///
    /// # Errors
    /// If a file is missing or damaged, or describes no BART that this crate can build.
    pub fn from_folder(folder: &Path) -> Result<Self, LanguageModelError> {
        let path = folder.join(CONFIG_FILE);
        let text = read_text(
            &path,
            "a model folder has a config.json; it is written last, so the folder may be half-written",
        )?;
        let invalid = |source| LanguageModelError::Config { path: path.clone(), source };
        let ModelType { model_type } = parse_json(&path, &text)?;
        if model_type != MODEL_TYPE {
            return Err(invalid(InvalidConfig::new("model_type", model_type, "be `bart`")));
        }
        let mut config: Self = parse_json(&path, &text)?;
        let generation = folder.join(GENERATION_FILE);
        if generation.exists() {
            let text = read_text(&generation, "")?;
            parse_json::<GenerationTokens>(&generation, &text)?.override_in(&mut config);
        }
        config.validate().map_err(invalid)?;
        Ok(config)
    }

    /// Writes `config.json` and `generation_config.json` as `transformers` reads them; `dtype` is
    /// that of the weights beside them.
    ///
    /// # Errors
    /// If a file can't be written.
    pub fn to_folder(&self, folder: &Path, dtype: FloatDType) -> Result<(), LanguageModelError> {
        write_json(&folder.join(GENERATION_FILE), &GenerationFile::of(self))?;
        write_json(&folder.join(CONFIG_FILE), &ConfigFile::of(self, dtype))
    }

    /// Checks that a model of this configuration can be built.
    ///
    /// # Errors
    /// The first entry that is wrong.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        self.validate_sizes()?;
        self.validate_heads()?;
        self.validate_numbers()?;
        self.validate_token_ids()?;
        if self.tie_word_embeddings {
            Ok(())
        } else {
            Err(InvalidConfig::new("tie_word_embeddings", false, "be true"))
        }
    }

    fn validate_sizes(&self) -> Result<(), InvalidConfig> {
        const MAX_LAYERS: usize = 1 << 10;
        const MAX_SIZE: usize = 1 << 24;
        for (entry, size, max) in [
            ("vocab_size", self.vocab_size, MAX_SIZE),
            ("max_position_embeddings", self.max_position_embeddings, MAX_SIZE),
            ("d_model", self.d_model, MAX_SIZE),
            ("encoder_layers", self.encoder_layers, MAX_LAYERS),
            ("encoder_ffn_dim", self.encoder_ffn_dim, MAX_SIZE),
            ("decoder_layers", self.decoder_layers, MAX_LAYERS),
            ("decoder_ffn_dim", self.decoder_ffn_dim, MAX_SIZE),
        ] {
            if !(1..=max).contains(&size) {
                return Err(InvalidConfig::new(entry, size, format!("lie in 1..={max}")));
            }
        }
        Ok(())
    }

    fn validate_heads(&self) -> Result<(), InvalidConfig> {
        for (entry, heads) in [
            ("encoder_attention_heads", self.encoder_attention_heads),
            ("decoder_attention_heads", self.decoder_attention_heads),
        ] {
            if heads == 0 || !self.d_model.is_multiple_of(heads) {
                let requirement = format!("divide d_model = {}", self.d_model);
                return Err(InvalidConfig::new(entry, heads, requirement));
            }
        }
        Ok(())
    }

    fn validate_numbers(&self) -> Result<(), InvalidConfig> {
        for (entry, probability) in [
            ("dropout", self.dropout),
            ("attention_dropout", self.attention_dropout),
            ("activation_dropout", self.activation_dropout),
        ] {
            if !(0.0..1.0).contains(&probability) {
                return Err(InvalidConfig::new(entry, probability, "lie in [0, 1)"));
            }
        }
        if self.init_std.is_finite() && self.init_std >= 0.0 {
            Ok(())
        } else {
            Err(InvalidConfig::new("init_std", self.init_std, "be a number of 0 or more"))
        }
    }

    fn validate_token_ids(&self) -> Result<(), InvalidConfig> {
        for (entry, id) in [
            ("pad_token_id", Some(self.pad_token_id)),
            ("bos_token_id", Some(self.bos_token_id)),
            ("eos_token_id", Some(self.eos_token_id)),
            ("decoder_start_token_id", Some(self.decoder_start_token_id)),
            ("forced_bos_token_id", self.forced_bos_token_id),
            ("forced_eos_token_id", self.forced_eos_token_id),
        ] {
            if let Some(id) = id
                && id as usize >= self.vocab_size
            {
                let requirement = format!("be below vocab_size = {}", self.vocab_size);
                return Err(InvalidConfig::new(entry, id, requirement));
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct ModelType {
    model_type: String,
}

/// The part of `generation_config.json` that decides which tokens a text must have.
#[derive(Deserialize)]
pub(crate) struct GenerationTokens {
    pub decoder_start_token_id: Option<u32>,
    pub forced_bos_token_id: Option<u32>,
    pub forced_eos_token_id: Option<u32>,
}

impl GenerationTokens {
    fn override_in(self, config: &mut BartConfig) {
        if let Some(start) = self.decoder_start_token_id {
            config.decoder_start_token_id = start;
        }
        config.forced_bos_token_id = self.forced_bos_token_id;
        config.forced_eos_token_id = self.forced_eos_token_id;
    }
}

#[derive(Serialize)]
struct ConfigFile<'a> {
    architectures: [&'static str; 1],
    model_type: &'static str,
    is_encoder_decoder: bool,
    dtype: &'static str,
    #[serde(flatten)]
    config: &'a BartConfig,
}

impl<'a> ConfigFile<'a> {
    fn of(config: &'a BartConfig, dtype: FloatDType) -> Self {
        Self {
            architectures: ["BartForConditionalGeneration"],
            model_type: MODEL_TYPE,
            is_encoder_decoder: true,
            dtype: dtype_name(dtype),
            config,
        }
    }
}

/// How a `config.json` calls the dtype of the weights beside it.
pub(crate) fn dtype_name(dtype: FloatDType) -> &'static str {
    match dtype {
        FloatDType::F16 => "float16",
        FloatDType::BF16 => "bfloat16",
        _ => "float32",
    }
}

#[derive(Serialize)]
struct GenerationFile {
    bos_token_id: u32,
    eos_token_id: u32,
    pad_token_id: u32,
    decoder_start_token_id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    forced_bos_token_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forced_eos_token_id: Option<u32>,
}

impl GenerationFile {
    fn of(config: &BartConfig) -> Self {
        Self {
            bos_token_id: config.bos_token_id,
            eos_token_id: config.eos_token_id,
            pad_token_id: config.pad_token_id,
            decoder_start_token_id: config.decoder_start_token_id,
            forced_bos_token_id: config.forced_bos_token_id,
            forced_eos_token_id: config.forced_eos_token_id,
        }
    }
}
