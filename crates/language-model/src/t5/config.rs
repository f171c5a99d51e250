use std::path::Path;

use burn::tensor::FloatDType;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::{CONFIG_FILE, GENERATION_FILE, GenerationTokens, dtype_name};
use crate::files::{parse_json, read_text, write_json};
use crate::{InvalidConfig, LanguageModelError};

/// The shape of a T5 model (T5 1.0 and 1.1, FLAN-T5, mT5), as Hugging Face's `config.json` has it.
///
/// Entries that this crate does not know are ignored. [`from_folder`](Self::from_folder) gives absent
/// entries the defaults of `transformers`, which are others for mT5 than for T5; where another reader
/// of JSON is used, absent entries have the defaults of T5.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct T5Config {
    /// Which of the two architectures it is. Default T5.
    pub model_type: T5Family,
    /// Number of token ids. Default 32128; for mT5 250112.
    pub vocab_size: usize,
    /// Width of the token states. Default 512.
    pub d_model: usize,
    /// Width of one head's queries, keys and values; need not divide `d_model`. Default 64.
    pub d_kv: usize,
    /// Inner width of the feed-forward layers. Default 2048; for mT5 1024.
    pub d_ff: usize,
    /// Number of encoder layers. Default 6; for mT5 8.
    pub num_layers: usize,
    /// Number of decoder layers. Default none: as many as the encoder has.
    pub num_decoder_layers: Option<usize>,
    /// Heads of every attention. Default 8; for mT5 6.
    pub num_heads: usize,
    /// Number of buckets of relative positions, at least 4. Default 32.
    pub relative_attention_num_buckets: usize,
    /// Distance in tokens from which on all positions share a bucket; more than half the number of
    /// buckets. Default 128.
    pub relative_attention_max_distance: usize,
    /// Dropout everywhere, in `[0, 1)`. Default 0.1.
    pub dropout_rate: f64,
    /// What is added to the mean square that norms divide by. Default 1e-6.
    pub layer_norm_epsilon: f64,
    /// Multiplies the deviations of freshly drawn weights. Default 1.
    pub initializer_factor: f64,
    /// Kind of the feed-forward layers. Default ReLU; for mT5 gated GELU.
    pub feed_forward_proj: T5FeedForward,
    /// Whether the output layer of a fresh model shares the weights of the token embedding. In a
    /// loaded model the weights decide: it does unless the file has a head of other values. Default
    /// true.
    pub tie_word_embeddings: bool,
    /// Whether the decoder's states are divided by the root of `d_model` before the output layer.
    /// Default none: mT5 never does, T5 does if `tie_word_embeddings` is true. `transformers` 5
    /// writes it, together with a `tie_word_embeddings` that is always true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_decoder_outputs: Option<bool>,
    /// Id that fills up short texts. Default 0.
    pub pad_token_id: u32,
    /// Id behind every text. Default 1.
    pub eos_token_id: u32,
    /// Id that the decoder sees first. Default 0; `transformers` has no default of it for T5.
    pub decoder_start_token_id: u32,
    /// Id that every generated text begins with. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forced_bos_token_id: Option<u32>,
    /// Id that takes the last place of a generated text that reaches its maximal length. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forced_eos_token_id: Option<u32>,
}

impl Default for T5Config {
    fn default() -> Self {
        Self {
            model_type: T5Family::T5,
            vocab_size: 32128,
            d_model: 512,
            d_kv: 64,
            d_ff: 2048,
            num_layers: 6,
            num_decoder_layers: None,
            num_heads: 8,
            relative_attention_num_buckets: 32,
            relative_attention_max_distance: 128,
            dropout_rate: 0.1,
            layer_norm_epsilon: 1e-6,
            initializer_factor: 1.0,
            feed_forward_proj: T5FeedForward::Relu,
            tie_word_embeddings: true,
            scale_decoder_outputs: None,
            pad_token_id: 0,
            eos_token_id: 1,
            decoder_start_token_id: 0,
            forced_bos_token_id: None,
            forced_eos_token_id: None,
        }
    }
}

/// The architectures that a [`T5Config`] describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum T5Family {
    /// T5 1.0 and 1.1, FLAN-T5.
    T5,
    /// mT5.
    Mt5,
}

/// Kind of the feed-forward layers: an activation, alone or (gated) multiplied by a second projection
/// (Shazeer, 2020).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum T5FeedForward {
    /// ReLU, as in T5 1.0.
    Relu,
    /// GELU by the error function.
    Gelu,
    /// GELU by the hyperbolic tangent.
    #[serde(rename = "gelu_new")]
    GeluNew,
    /// SiLU.
    Silu,
    /// Gated ReLU.
    GatedRelu,
    /// Gated GELU by the hyperbolic tangent, as in T5 1.1, FLAN-T5 and mT5.
    GatedGelu,
    /// Gated SiLU.
    GatedSilu,
}

/// What a feed-forward layer does to its inner values.
#[derive(Debug, Clone, Copy)]
pub(super) enum FeedForwardActivation {
    Relu,
    Gelu,
    GeluTanh,
    Silu,
}

impl T5FeedForward {
    pub(super) fn is_gated(self) -> bool {
        matches!(self, Self::GatedRelu | Self::GatedGelu | Self::GatedSilu)
    }

    pub(super) fn activation(self) -> FeedForwardActivation {
        match self {
            Self::Relu | Self::GatedRelu => FeedForwardActivation::Relu,
            Self::Gelu => FeedForwardActivation::Gelu,
            Self::GeluNew | Self::GatedGelu => FeedForwardActivation::GeluTanh,
            Self::Silu | Self::GatedSilu => FeedForwardActivation::Silu,
        }
    }
}

impl T5Config {
    /// The defaults of a family.
    pub fn of_family(family: T5Family) -> Self {
        match family {
            T5Family::T5 => Self::default(),
            T5Family::Mt5 => Self {
                model_type: T5Family::Mt5,
                vocab_size: 250112,
                d_ff: 1024,
                num_layers: 8,
                num_heads: 6,
                feed_forward_proj: T5FeedForward::GatedGelu,
                ..Self::default()
            },
        }
    }

    /// Reads `config.json` of a model folder. If there is a `generation_config.json` too, the start
    /// token and the forced tokens are taken from there, as `transformers` does.
    ///
    /// # Errors
    /// If a file is missing or damaged, or describes no T5 that this crate can build.
    pub fn from_folder(folder: &Path) -> Result<Self, LanguageModelError> {
        let path = folder.join(CONFIG_FILE);
        let text = read_text(
            &path,
            "a model folder has a config.json; it is written last, so the folder may be half-written",
        )?;
        let mut config = Self::from_entries(&path, parse_json(&path, &text)?)?;
        let generation = folder.join(GENERATION_FILE);
        if generation.exists() {
            let text = read_text(&generation, "")?;
            let tokens: GenerationTokens = parse_json(&generation, &text)?;
            config.decoder_start_token_id =
                tokens.decoder_start_token_id.unwrap_or(config.decoder_start_token_id);
            config.forced_bos_token_id = tokens.forced_bos_token_id;
            config.forced_eos_token_id = tokens.forced_eos_token_id;
        }
        config.validate().map_err(|source| LanguageModelError::Config { path, source })?;
        Ok(config)
    }

    /// Lays the entries of the file `path` over the defaults of their family.
    fn from_entries(path: &Path, entries: Map<String, Value>) -> Result<Self, LanguageModelError> {
        let broken = |source| LanguageModelError::Json { path: path.to_path_buf(), source };
        let family = match entries.get("model_type").and_then(Value::as_str) {
            Some("t5") => T5Family::T5,
            Some("mt5") => T5Family::Mt5,
            other => {
                let found = other.unwrap_or("absent");
                let source = InvalidConfig::new("model_type", found, "be `t5` or `mt5`");
                return Err(LanguageModelError::Config { path: path.to_path_buf(), source });
            }
        };
        let mut all = serde_json::to_value(Self::of_family(family)).map_err(broken)?;
        if let Value::Object(all) = &mut all {
            all.extend(entries);
        }
        serde_json::from_value(all).map_err(broken)
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
        self.validate_buckets()?;
        self.validate_numbers()?;
        self.validate_token_ids()
    }

    pub(super) fn decoder_layers(&self) -> usize {
        self.num_decoder_layers.unwrap_or(self.num_layers)
    }

    /// What the decoder's states are multiplied by before the output layer.
    pub(super) fn logit_scale(&self) -> f64 {
        let scales = match self.model_type {
            T5Family::T5 => self.scale_decoder_outputs.unwrap_or(self.tie_word_embeddings),
            T5Family::Mt5 => false,
        };
        if scales { (self.d_model as f64).powf(-0.5) } else { 1.0 }
    }

    fn validate_sizes(&self) -> Result<(), InvalidConfig> {
        const MAX_LAYERS: usize = 1 << 10;
        const MAX_SIZE: usize = 1 << 24;
        for (entry, size, max) in [
            ("vocab_size", self.vocab_size, MAX_SIZE),
            ("d_model", self.d_model, MAX_SIZE),
            ("d_kv", self.d_kv, MAX_SIZE),
            ("d_ff", self.d_ff, MAX_SIZE),
            ("num_layers", self.num_layers, MAX_LAYERS),
            ("num_decoder_layers", self.decoder_layers(), MAX_LAYERS),
            ("num_heads", self.num_heads, MAX_LAYERS),
        ] {
            if !(1..=max).contains(&size) {
                return Err(InvalidConfig::new(entry, size, format!("lie in 1..={max}")));
            }
        }
        Ok(())
    }

    fn validate_buckets(&self) -> Result<(), InvalidConfig> {
        const MAX_BUCKETS: usize = 1 << 16;
        const MAX_DISTANCE: usize = 1 << 24;
        let buckets = self.relative_attention_num_buckets;
        if !(4..=MAX_BUCKETS).contains(&buckets) {
            return Err(InvalidConfig::new(
                "relative_attention_num_buckets",
                buckets,
                format!("lie in 4..={MAX_BUCKETS}"),
            ));
        }
        let distance = self.relative_attention_max_distance;
        if !(buckets / 2 + 1..=MAX_DISTANCE).contains(&distance) {
            return Err(InvalidConfig::new(
                "relative_attention_max_distance",
                distance,
                format!("lie in {}..={MAX_DISTANCE}, above half the buckets", buckets / 2 + 1),
            ));
        }
        Ok(())
    }

    fn validate_numbers(&self) -> Result<(), InvalidConfig> {
        if !(0.0..1.0).contains(&self.dropout_rate) {
            return Err(InvalidConfig::new("dropout_rate", self.dropout_rate, "lie in [0, 1)"));
        }
        for (entry, number) in [
            ("layer_norm_epsilon", self.layer_norm_epsilon),
            ("initializer_factor", self.initializer_factor),
        ] {
            if !(number.is_finite() && number >= 0.0) {
                return Err(InvalidConfig::new(entry, number, "be a number of 0 or more"));
            }
        }
        Ok(())
    }

    fn validate_token_ids(&self) -> Result<(), InvalidConfig> {
        for (entry, id) in [
            ("pad_token_id", Some(self.pad_token_id)),
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

#[derive(Serialize)]
struct ConfigFile<'a> {
    architectures: [&'static str; 1],
    is_encoder_decoder: bool,
    dtype: &'static str,
    #[serde(flatten)]
    config: &'a T5Config,
}

impl<'a> ConfigFile<'a> {
    fn of(config: &'a T5Config, dtype: FloatDType) -> Self {
        let architecture = match config.model_type {
            T5Family::T5 => "T5ForConditionalGeneration",
            T5Family::Mt5 => "MT5ForConditionalGeneration",
        };
        Self {
            architectures: [architecture],
            is_encoder_decoder: true,
            dtype: dtype_name(dtype),
            config,
        }
    }
}

#[derive(Serialize)]
struct GenerationFile {
    eos_token_id: u32,
    pad_token_id: u32,
    decoder_start_token_id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    forced_bos_token_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forced_eos_token_id: Option<u32>,
}

impl GenerationFile {
    fn of(config: &T5Config) -> Self {
        Self {
            eos_token_id: config.eos_token_id,
            pad_token_id: config.pad_token_id,
            decoder_start_token_id: config.decoder_start_token_id,
            forced_bos_token_id: config.forced_bos_token_id,
            forced_eos_token_id: config.forced_eos_token_id,
        }
    }
}
