use std::path::Path;

use burn::tensor::FloatDType;
use serde::{Deserialize, Serialize};

use crate::config::{
    self, FolderConfig, MAX_LAYERS, MAX_SIZE, TokenIds, check_dropout, check_not_negative,
    check_sizes,
};
use crate::{Activation, EosTokenIds, GenerationConfig, InvalidConfig, LanguageModelError};

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
    /// Id that fills up short texts, if there is one. Default 0.
    pub pad_token_id: Option<u32>,
    /// The ids that end a text. Default 1.
    pub eos_token_id: EosTokenIds,
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
            pad_token_id: Some(0),
            eos_token_id: EosTokenIds::from(1),
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

impl T5FeedForward {
    pub(super) fn is_gated(self) -> bool {
        matches!(self, Self::GatedRelu | Self::GatedGelu | Self::GatedSilu)
    }

    pub(super) fn activation(self) -> Activation {
        match self {
            Self::Relu | Self::GatedRelu => Activation::Relu,
            Self::Gelu => Activation::Gelu,
            Self::GeluNew | Self::GatedGelu => Activation::GeluNew,
            Self::Silu | Self::GatedSilu => Activation::Silu,
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

    /// Reads `config.json` of a model folder. If there is a `generation_config.json` too, the ids that
    /// begin and end texts are those that it has, and it alone has forced ones, as in `transformers`.
    /// Other than there, an end token that it lacks is that of `config.json`, or the default.
    ///
    /// # Errors
    /// If a file is missing or damaged, or describes no T5 that this crate can build.
    pub fn from_folder(folder: &Path) -> Result<Self, LanguageModelError> {
        config::read(folder)
    }

    /// Writes `config.json` and `generation_config.json` as `transformers` reads them; `dtype` is
    /// that of the weights beside them, `generation` how the model's own texts are decoded.
    ///
    /// # Errors
    /// If a file can't be written.
    pub fn to_folder(
        &self,
        folder: &Path,
        dtype: FloatDType,
        generation: &GenerationConfig,
    ) -> Result<(), LanguageModelError> {
        config::write(self, folder, dtype, generation)
    }

    /// Checks that a model of this configuration can be built.
    ///
    /// # Errors
    /// The first entry that is wrong.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        check_sizes([
            ("vocab_size", self.vocab_size, MAX_SIZE),
            ("d_model", self.d_model, MAX_SIZE),
            ("d_kv", self.d_kv, MAX_SIZE),
            ("d_ff", self.d_ff, MAX_SIZE),
            ("num_layers", self.num_layers, MAX_LAYERS),
            ("num_decoder_layers", self.decoder_layers(), MAX_LAYERS),
            ("num_heads", self.num_heads, MAX_LAYERS),
        ])?;
        self.validate_buckets()?;
        check_dropout("dropout_rate", self.dropout_rate)?;
        check_not_negative("layer_norm_epsilon", self.layer_norm_epsilon)?;
        check_not_negative("initializer_factor", self.initializer_factor)?;
        self.token_ids().check(self.vocab_size)
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
}

impl FolderConfig for T5Config {
    const MODEL_TYPES: &'static str = "`t5` or `mt5`";
    const ALIASES: &'static [(&'static str, &'static str)] = &[
        ("hidden_size", "d_model"),
        ("head_dim", "d_kv"),
        ("num_hidden_layers", "num_layers"),
        ("num_attention_heads", "num_heads"),
    ];

    fn defaults(model_type: &str) -> Option<Self> {
        match model_type {
            "t5" => Some(Self::of_family(T5Family::T5)),
            "mt5" => Some(Self::of_family(T5Family::Mt5)),
            _ => None,
        }
    }

    fn check(&self) -> Result<(), InvalidConfig> {
        self.validate()
    }

    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn token_ids(&self) -> TokenIds {
        TokenIds {
            bos_token_id: None,
            eos_token_id: Some(self.eos_token_id.clone()),
            pad_token_id: self.pad_token_id,
            decoder_start_token_id: Some(self.decoder_start_token_id),
            forced_bos_token_id: self.forced_bos_token_id,
            forced_eos_token_id: self.forced_eos_token_id,
        }
    }

    fn architecture(&self) -> &'static str {
        match self.model_type {
            T5Family::T5 => "T5ForConditionalGeneration",
            T5Family::Mt5 => "MT5ForConditionalGeneration",
        }
    }
}
