use std::path::Path;

use burn::tensor::FloatDType;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::{
    self, Entries, FolderConfig, MAX_LAYERS, MAX_SIZE, TokenIds, check_dropout, check_not_negative,
    check_sizes,
};
use crate::{Activation, EosTokenIds, GenerationConfig, InvalidConfig, LanguageModelError};

/// The shape of a BART or mBART model, as Hugging Face's `config.json` has it.
///
/// Entries that this crate does not know are ignored; entries that are absent have the defaults of
/// `transformers`, which are those of BART-large for both families.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BartConfig {
    /// Which of the two architectures it is. Default BART.
    pub model_type: BartFamily,
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
    /// Id that fills up short texts, if there is one. Default 1.
    pub pad_token_id: Option<u32>,
    /// Id in front of every text, if there is one. Default 0.
    pub bos_token_id: Option<u32>,
    /// The ids that end a text. Default 2.
    pub eos_token_id: EosTokenIds,
    /// Id that the decoder sees first. Default 2; in an mBART's folder `bos_token_id`, as where it is
    /// null.
    pub decoder_start_token_id: u32,
    /// Id that every generated text begins with. Default none.
    pub forced_bos_token_id: Option<u32>,
    /// Id that takes the last place of a generated text that reaches its maximal length. Default 2; in
    /// a folder whose files don't name it none.
    pub forced_eos_token_id: Option<u32>,
}

impl Default for BartConfig {
    fn default() -> Self {
        Self {
            model_type: BartFamily::Bart,
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
            pad_token_id: Some(1),
            bos_token_id: Some(0),
            eos_token_id: EosTokenIds::from(2),
            decoder_start_token_id: 2,
            forced_bos_token_id: None,
            forced_eos_token_id: Some(2),
        }
    }
}

/// The architectures that a [`BartConfig`] describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BartFamily {
    /// BART: every sub-layer's sum is normalised behind it.
    Bart,
    /// mBART: every sub-layer's input is normalised, and so is the output of both stacks.
    Mbart,
}

impl BartConfig {
    /// Reads `config.json` of a model folder. If there is a `generation_config.json` too, the ids that
    /// begin and end texts are those that it has, and it alone has forced ones, as in `transformers`.
    /// Other than there, an end token that it lacks is that of `config.json`, or the default.
    ///
    /// # Errors
    /// If a file is missing or damaged, or describes no BART that this crate can build; also if it asks
    /// for norms or positions that `transformers` does not have for its `model_type`, as its weights
    /// would load and compute something else.
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
            ("max_position_embeddings", self.max_position_embeddings, MAX_SIZE),
            ("d_model", self.d_model, MAX_SIZE),
            ("encoder_layers", self.encoder_layers, MAX_LAYERS),
            ("encoder_ffn_dim", self.encoder_ffn_dim, MAX_SIZE),
            ("decoder_layers", self.decoder_layers, MAX_LAYERS),
            ("decoder_ffn_dim", self.decoder_ffn_dim, MAX_SIZE),
        ])?;
        self.validate_heads()?;
        check_dropout("dropout", self.dropout)?;
        check_dropout("attention_dropout", self.attention_dropout)?;
        check_dropout("activation_dropout", self.activation_dropout)?;
        check_not_negative("init_std", self.init_std)?;
        self.token_ids().check(self.vocab_size)?;
        if self.tie_word_embeddings {
            Ok(())
        } else {
            Err(InvalidConfig::new("tie_word_embeddings", false, "be true"))
        }
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
}

impl FolderConfig for BartConfig {
    const MODEL_TYPES: &'static str = "`bart` or `mbart`";
    const ALIASES: &'static [(&'static str, &'static str)] = &[
        ("hidden_size", "d_model"),
        ("num_hidden_layers", "encoder_layers"),
        ("num_attention_heads", "encoder_attention_heads"),
    ];

    fn defaults(model_type: &str) -> Option<Self> {
        let model_type = match model_type {
            "bart" => BartFamily::Bart,
            "mbart" => BartFamily::Mbart,
            _ => return None,
        };
        Some(Self { model_type, ..Self::default() })
    }

    fn starts_at_bos(&self) -> bool {
        self.model_type == BartFamily::Mbart
    }

    fn check_entries(entries: &Entries) -> Result<(), InvalidConfig> {
        let is = |entry, value| entries.get(entry).and_then(Value::as_bool) == Some(value);
        let pre_norm = entries.get("model_type").and_then(Value::as_str) == Some("mbart");
        if is("normalize_before", !pre_norm) {
            let requirement = format!("be {pre_norm} for this model_type");
            return Err(InvalidConfig::new("normalize_before", !pre_norm, requirement));
        }
        if is("static_position_embeddings", true) {
            return Err(InvalidConfig::new("static_position_embeddings", true, "be false"));
        }
        Ok(())
    }

    fn check(&self) -> Result<(), InvalidConfig> {
        self.validate()
    }

    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn token_ids(&self) -> TokenIds {
        TokenIds {
            bos_token_id: self.bos_token_id,
            eos_token_id: Some(self.eos_token_id.clone()),
            pad_token_id: self.pad_token_id,
            decoder_start_token_id: Some(self.decoder_start_token_id),
            forced_bos_token_id: self.forced_bos_token_id,
            forced_eos_token_id: self.forced_eos_token_id,
        }
    }

    fn architecture(&self) -> &'static str {
        match self.model_type {
            BartFamily::Bart => "BartForConditionalGeneration",
            BartFamily::Mbart => "MBartForConditionalGeneration",
        }
    }
}
