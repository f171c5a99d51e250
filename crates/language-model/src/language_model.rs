use std::ops::ControlFlow;
use std::path::Path;

use burn::module::Module;
use burn::tensor::{Bool, Device, FloatDType, Tensor};
use latent_text_nn::weights::TensorFile;

use crate::files::create_folder;
use crate::stream::{NewText, TextStreams};
use crate::{
    EncoderDecoder, EncoderDecoderConfig, GeneratedText, GenerationConfig, LanguageModelError,
    TextTokenizer,
};

/// What `model_max_length` a tokenizer is saved with where the model has no longest text.
const USUAL_LENGTH: usize = 512;

/// A network with its configuration and its tokenizer: what a Hugging Face model folder holds.
#[derive(Debug, Clone)]
pub struct LanguageModel {
    /// The network.
    pub model: EncoderDecoder,
    /// Its shape.
    pub config: EncoderDecoderConfig,
    /// Turns texts into the model's token ids and back.
    pub tokenizer: TextTokenizer,
    /// How the folder's own texts are decoded.
    pub generation: GenerationConfig,
}

/// A text that a language model has written for a text.
#[derive(Debug, Clone, PartialEq)]
pub struct WrittenText {
    /// Index of the source text.
    pub source: usize,
    /// The text, without special tokens.
    pub text: String,
    /// See [`GeneratedText::score`].
    pub score: Option<f64>,
}

impl LanguageModel {
    /// A model with fresh weights and the default settings of generation.
    ///
    /// # Errors
    /// If the configuration has a fault or has fewer ids than the tokenizer.
    pub fn new(
        config: impl Into<EncoderDecoderConfig>,
        tokenizer: TextTokenizer,
        device: &Device,
    ) -> Result<Self, LanguageModelError> {
        let config = config.into();
        config.validate()?;
        check_vocabulary(&config, &tokenizer)?;
        let model = config.init(device);
        Ok(Self { model, config, tokenizer, generation: GenerationConfig::default() })
    }

    /// Loads a model folder: `config.json`, the weights (see [`Bart::load`](crate::Bart::load) and
    /// [`T5::load`](crate::T5::load); the parameters become f32), the tokenizer (see
    /// [`TextTokenizer::from_folder`]) and, where present, `generation_config.json`.
    ///
    /// # Errors
    /// If a file is missing, damaged or does not belong to the others; the error names it.
    pub fn load(folder: &Path, device: &Device) -> Result<Self, LanguageModelError> {
        Self::read(folder, |config| EncoderDecoder::load(folder, config, device))
    }

    /// [`load`](Self::load) with the weights from an open file, which holds nothing else; the folder
    /// needs none.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_with_weights(
        folder: &Path,
        weights: &TensorFile,
        device: &Device,
    ) -> Result<Self, LanguageModelError> {
        Self::read(folder, |config| EncoderDecoder::from_tensors(weights, config, device))
    }

    fn read(
        folder: &Path,
        model: impl FnOnce(&EncoderDecoderConfig) -> Result<EncoderDecoder, LanguageModelError>,
    ) -> Result<Self, LanguageModelError> {
        let config = EncoderDecoderConfig::from_folder(folder)?;
        let generation = GenerationConfig::from_folder(folder)?;
        let tokenizer = TextTokenizer::from_folder(folder)?;
        check_vocabulary(&config, &tokenizer)?;
        let model = model(&config)?;
        Ok(Self { model, config, tokenizer, generation })
    }

    /// Writes a model folder that [`load`](Self::load) and `transformers` read, with the weights in
    /// `dtype` (f32, f16 or bf16). Every file appears whole or not at all, `config.json` last.
    ///
    /// # Errors
    /// If a file can't be written or a weight does not fit into `dtype`.
    pub fn save(&self, folder: &Path, dtype: FloatDType) -> Result<(), LanguageModelError> {
        create_folder(folder)?;
        let longest = self.config.max_positions().unwrap_or(USUAL_LENGTH);
        self.tokenizer.save_to_folder(folder, longest)?;
        self.model.save(folder, dtype)?;
        self.config.to_folder(folder, dtype, &self.generation)
    }

    /// The encoder's states of texts, each cut off to `max_tokens` tokens, and where they are real:
    /// `[texts, length, d_model]` and `[texts, length]`, as long as the longest text is.
    ///
    /// # Errors
    /// If `max_tokens` has no room for the special tokens or exceeds the model's positions, or if a text
    /// can't be tokenized.
    pub fn encode_texts(
        &self,
        texts: &[&str],
        max_tokens: usize,
    ) -> Result<(Tensor<3>, Tensor<2, Bool>), LanguageModelError> {
        if let Some(most) = self.config.max_positions().filter(|&most| max_tokens > most) {
            return Err(LanguageModelError::Setting {
                setting: "max_tokens",
                problem: format!("{max_tokens} must not exceed {most}, the model's positions"),
            });
        }
        let batch = self.tokenizer.encode_batch(texts, max_tokens)?;
        let (ids, mask) = batch.tensors(batch.longest(), &self.model.devices().remove(0));
        Ok((self.model.encode(ids, Some(mask.clone())), mask))
    }

    /// Writes texts for source texts: summaries, translations, texts without their masks, whatever the
    /// model was trained for. Sources are cut off to `max_tokens` tokens; `seeds` has one seed for each.
    ///
    /// ```no_run
    /// # use std::path::Path;
    /// # use latent_text_language_model::{LanguageModel, LanguageModelError};
    /// # fn main() -> Result<(), LanguageModelError> {
    /// let device = burn::tensor::Device::default();
    /// let model = LanguageModel::load(Path::new("bart-large-cnn"), &device)?;
    /// let article = "..";
    /// for summary in model.write(&[article], 1024, &model.generation, &[0])? {
    ///     println!("{}", summary.text);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`encode_texts`](Self::encode_texts) and [`EncoderDecoder::generate`].
    pub fn write(
        &self,
        sources: &[&str],
        max_tokens: usize,
        config: &GenerationConfig,
        seeds: &[u64],
    ) -> Result<Vec<WrittenText>, LanguageModelError> {
        let (states, mask) = self.encode_texts(sources, max_tokens)?;
        self.decode_all(self.model.generate(states, Some(mask), config, seeds)?)
    }

    /// [`write`](Self::write) that calls `on_text` with every piece of a text as soon as it is certain,
    /// and stops with the texts as they are if that says so.
    ///
    /// # Errors
    /// As `write`; also for a beam search, which knows its texts only at its end.
    pub fn write_streaming(
        &self,
        sources: &[&str],
        max_tokens: usize,
        config: &GenerationConfig,
        seeds: &[u64],
        mut on_text: impl FnMut(NewText) -> ControlFlow<()>,
    ) -> Result<Vec<WrittenText>, LanguageModelError> {
        config.validate(self.config.max_positions(), self.config.vocab_size())?;
        let (states, mask) = self.encode_texts(sources, max_tokens)?;
        let mut streams = TextStreams::new(self, sources.len() * config.returns, &config.prefix);
        let mut failure = None;
        let generated =
            self.model.stream(states, Some(mask), config, seeds, |token| {
                match streams.push(token) {
                    Ok(Some(piece)) => on_text(piece),
                    Ok(None) => ControlFlow::Continue(()),
                    Err(error) => {
                        failure = Some(error);
                        ControlFlow::Break(())
                    }
                }
            })?;
        if let Some(error) = failure {
            return Err(error);
        }
        let written = self.decode_all(generated)?;
        for piece in streams.finish(&written) {
            if on_text(piece).is_break() {
                break;
            }
        }
        Ok(written)
    }

    fn decode_all(
        &self,
        generated: Vec<GeneratedText>,
    ) -> Result<Vec<WrittenText>, LanguageModelError> {
        let written = |GeneratedText { source, ids, score }| {
            Ok(WrittenText { source, text: self.tokenizer.decode(&ids)?, score })
        };
        generated.into_iter().map(written).collect()
    }
}

fn check_vocabulary(
    config: &EncoderDecoderConfig,
    tokenizer: &TextTokenizer,
) -> Result<(), LanguageModelError> {
    if tokenizer.vocab_size() > config.vocab_size() {
        return Err(LanguageModelError::VocabularySize {
            tokenizer: tokenizer.vocab_size(),
            model: config.vocab_size(),
        });
    }
    Ok(())
}
