use std::ops::ControlFlow;
use std::path::Path;

use burn::module::Module;
use burn::tensor::{Bool, Device, FloatDType, Int, Tensor};
use latent_text_nn::weights::TensorFile;

use crate::config::{CONFIG_FILE, model_type};
use crate::generation::{self, GeneratedText, GenerationConfig, NewToken};
use crate::{
    Bart, BartConfig, BartFamily, EosTokenIds, InvalidConfig, LanguageModelError, T5, T5Config,
};

/// A pretrained encoder-decoder network of any family that this crate knows.
///
/// As a frozen part of another model: `model.freeze().train()` lets gradients pass through to the
/// encoder states, has none for its own parameters, and no dropout. Without `freeze` both are there on
/// an autodiff device.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a program has one or two of them, full of tensors")]
pub enum EncoderDecoder {
    /// BART and mBART.
    Bart(Bart),
    /// T5, FLAN-T5 and mT5.
    T5(T5),
}

/// The shape of an [`EncoderDecoder`], as Hugging Face's `config.json` has it.
#[derive(Debug, Clone, PartialEq)]
pub enum EncoderDecoderConfig {
    /// `model_type` `bart` or `mbart`.
    Bart(BartConfig),
    /// `model_type` `t5` or `mt5`.
    T5(T5Config),
}

impl EncoderDecoder {
    /// Loads the weights of a model folder; see [`Bart::load`] and [`T5::load`].
    ///
    /// # Errors
    /// If the configuration has a fault, or a file is missing, damaged, or of another shape.
    pub fn load(
        folder: &Path,
        config: &EncoderDecoderConfig,
        device: &Device,
    ) -> Result<Self, LanguageModelError> {
        match config {
            EncoderDecoderConfig::Bart(config) => {
                Bart::load(folder, config, device).map(Self::Bart)
            }
            EncoderDecoderConfig::T5(config) => T5::load(folder, config, device).map(Self::T5),
        }
    }

    /// Makes a model of the tensors of an open file, which holds nothing else; see
    /// [`Bart::load`] and [`T5::load`].
    ///
    /// # Errors
    /// If the configuration has a fault, or the file is damaged, or of another shape.
    pub fn from_tensors(
        file: &TensorFile,
        config: &EncoderDecoderConfig,
        device: &Device,
    ) -> Result<Self, LanguageModelError> {
        match config {
            EncoderDecoderConfig::Bart(config) => {
                Bart::from_tensors(file, config, device).map(Self::Bart)
            }
            EncoderDecoderConfig::T5(config) => {
                T5::from_tensors(file, config, device).map(Self::T5)
            }
        }
    }

    /// Replaces the encoder and the token embedding by those of an open file that has them behind
    /// `prefix`; see [`Bart::with_encoder_from`] and [`T5::with_encoder_from`].
    ///
    /// # Errors
    /// [`LanguageModelError::Weights`] if a tensor is missing, of another shape, or unknown.
    pub fn with_encoder_from(
        self,
        file: &TensorFile,
        prefix: &str,
    ) -> Result<Self, LanguageModelError> {
        match self {
            Self::Bart(bart) => bart.with_encoder_from(file, prefix).map(Self::Bart),
            Self::T5(t5) => t5.with_encoder_from(file, prefix).map(Self::T5),
        }
    }

    /// Writes `model.safetensors` under Hugging Face's names, in `dtype` (f32, f16 or bf16).
    ///
    /// # Errors
    /// If the file can't be written or a weight does not fit into `dtype`.
    pub fn save(&self, folder: &Path, dtype: FloatDType) -> Result<(), LanguageModelError> {
        match self {
            Self::Bart(bart) => bart.save(folder, dtype),
            Self::T5(t5) => t5.save(folder, dtype),
        }
    }

    /// The encoder's states of token ids.
    ///
    /// # Shapes
    /// - `input_ids`: `[batch, length]`
    /// - `attention_mask`: `[batch, length]`, `true` at real tokens; none if there is no padding
    /// - returns `[batch, length, d_model]`
    ///
    /// # Panics
    /// If the texts are longer than the position table of a BART.
    pub fn encode(
        &self,
        input_ids: Tensor<2, Int>,
        attention_mask: Option<Tensor<2, Bool>>,
    ) -> Tensor<3> {
        match self {
            Self::Bart(bart) => bart.encode(input_ids, attention_mask),
            Self::T5(t5) => t5.encode(input_ids, attention_mask),
        }
    }

    /// The logits of every next token when the decoder is shown `decoder_input_ids`
    /// (teacher forcing; see [`shift_right`](crate::shift_right)).
    ///
    /// # Shapes
    /// - `decoder_input_ids`: `[batch, length]`
    /// - `encoder_states`: `[batch, source, d_model]`
    /// - `encoder_mask`: `[batch, source]`, `true` where the decoder may look; none for everywhere
    /// - returns `[batch, length, vocabulary]`
    ///
    /// # Panics
    /// If the texts are longer than the position table of a BART.
    pub fn decode(
        &self,
        decoder_input_ids: Tensor<2, Int>,
        encoder_states: Tensor<3>,
        encoder_mask: Option<Tensor<2, Bool>>,
    ) -> Tensor<3> {
        match self {
            Self::Bart(bart) => bart.decode(decoder_input_ids, encoder_states, encoder_mask),
            Self::T5(t5) => t5.decode(decoder_input_ids, encoder_states, encoder_mask),
        }
    }

    /// Writes texts for every row of `encoder_states`: those of the first row, then those of the
    /// second, ..; as many for each as [`GenerationConfig::returns`] says.
    ///
    /// A row's texts do not depend on the other rows: `seeds` has one seed for each row, which sampling
    /// draws from and the other ways of decoding ignore.
    ///
    /// On an autodiff device dropout would act and a graph be kept: call `valid()` on the model, and
    /// `without_autodiff` on the states, first.
    ///
    /// # Shapes
    /// - `encoder_states`: `[batch, source, d_model]`
    /// - `encoder_mask`: `[batch, source]`, `true` where the decoder may look; none for everywhere
    ///
    /// # Errors
    /// If a setting is outside its range, if there is not one seed for each row, if the model's output
    /// is not finite (sampling and beam search), if the settings forbid every next token (beam search),
    /// or if the device fails.
    pub fn generate(
        &self,
        encoder_states: Tensor<3>,
        encoder_mask: Option<Tensor<2, Bool>>,
        config: &GenerationConfig,
        seeds: &[u64],
    ) -> Result<Vec<GeneratedText>, LanguageModelError> {
        match self {
            Self::Bart(bart) => bart.generate(encoder_states, encoder_mask, config, seeds),
            Self::T5(t5) => t5.generate(encoder_states, encoder_mask, config, seeds),
        }
    }

    /// [`generate`](Self::generate) that calls `on_token` for every token as soon as it is chosen, and
    /// stops with the texts as they are if that says so.
    ///
    /// # Errors
    /// As `generate`; also for a beam search, which knows its texts only at its end.
    pub fn stream(
        &self,
        encoder_states: Tensor<3>,
        encoder_mask: Option<Tensor<2, Bool>>,
        config: &GenerationConfig,
        seeds: &[u64],
        mut on_token: impl FnMut(NewToken) -> ControlFlow<()>,
    ) -> Result<Vec<GeneratedText>, LanguageModelError> {
        match self {
            Self::Bart(bart) => {
                generation::stream(bart, encoder_states, encoder_mask, config, seeds, &mut on_token)
            }
            Self::T5(t5) => {
                generation::stream(t5, encoder_states, encoder_mask, config, seeds, &mut on_token)
            }
        }
    }
}

impl EncoderDecoderConfig {
    /// Reads `config.json` and `generation_config.json` of a model folder; `model_type` tells the
    /// family.
    ///
    /// # Errors
    /// If a file is missing or damaged, or describes no model that this crate can build.
    pub fn from_folder(folder: &Path) -> Result<Self, LanguageModelError> {
        match model_type(folder)?.as_str() {
            "bart" | "mbart" => BartConfig::from_folder(folder).map(Self::Bart),
            "t5" | "mt5" => T5Config::from_folder(folder).map(Self::T5),
            other => Err(LanguageModelError::Config {
                path: folder.join(CONFIG_FILE),
                source: InvalidConfig::new(
                    "model_type",
                    other,
                    "be `bart`, `mbart`, `t5` or `mt5`, the architectures that are known here",
                ),
            }),
        }
    }

    /// Writes `config.json` and `generation_config.json` as `transformers` reads them; `dtype` is that
    /// of the weights beside them, `generation` how the model's own texts are decoded.
    ///
    /// # Errors
    /// If a file can't be written.
    pub fn to_folder(
        &self,
        folder: &Path,
        dtype: FloatDType,
        generation: &GenerationConfig,
    ) -> Result<(), LanguageModelError> {
        match self {
            Self::Bart(config) => config.to_folder(folder, dtype, generation),
            Self::T5(config) => config.to_folder(folder, dtype, generation),
        }
    }

    /// Checks that a model of this configuration can be built.
    ///
    /// # Errors
    /// The first entry that is wrong.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        match self {
            Self::Bart(config) => config.validate(),
            Self::T5(config) => config.validate(),
        }
    }

    /// A model with fresh weights.
    ///
    /// # Panics
    /// If [`validate`](Self::validate) finds a fault in the configuration.
    pub fn init(&self, device: &Device) -> EncoderDecoder {
        match self {
            Self::Bart(config) => EncoderDecoder::Bart(config.init(device)),
            Self::T5(config) => EncoderDecoder::T5(config.init(device)),
        }
    }

    /// Width of the encoder's states.
    pub fn d_model(&self) -> usize {
        match self {
            Self::Bart(config) => config.d_model,
            Self::T5(config) => config.d_model,
        }
    }

    /// Number of token ids.
    pub fn vocab_size(&self) -> usize {
        match self {
            Self::Bart(config) => config.vocab_size,
            Self::T5(config) => config.vocab_size,
        }
    }

    /// The longest text in tokens; none if there is no bound.
    pub fn max_positions(&self) -> Option<usize> {
        match self {
            Self::Bart(config) => Some(config.max_position_embeddings),
            Self::T5(_) => None,
        }
    }

    /// Id that the decoder sees first.
    pub fn decoder_start_token_id(&self) -> u32 {
        match self {
            Self::Bart(config) => config.decoder_start_token_id,
            Self::T5(config) => config.decoder_start_token_id,
        }
    }

    /// The ids that end a text.
    pub fn eos_token_id(&self) -> &EosTokenIds {
        match self {
            Self::Bart(config) => &config.eos_token_id,
            Self::T5(config) => &config.eos_token_id,
        }
    }

    /// Whether the model was trained with the language's code in front of the decoder's text (mBART),
    /// so that [`shift_language_first`](crate::shift_language_first) makes the decoder's input.
    pub fn shifts_language_first(&self) -> bool {
        matches!(self, Self::Bart(config) if config.model_type == BartFamily::Mbart)
    }
}

impl From<Bart> for EncoderDecoder {
    fn from(bart: Bart) -> Self {
        Self::Bart(bart)
    }
}

impl From<T5> for EncoderDecoder {
    fn from(t5: T5) -> Self {
        Self::T5(t5)
    }
}

impl From<BartConfig> for EncoderDecoderConfig {
    fn from(config: BartConfig) -> Self {
        Self::Bart(config)
    }
}

impl From<T5Config> for EncoderDecoderConfig {
    fn from(config: T5Config) -> Self {
        Self::T5(config)
    }
}
