use std::path::Path;

use burn::module::Param;
use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use latent_text_nn::weights::{self, TensorFile, WeightsError};

use super::Bart;
use crate::{BartConfig, LanguageModelError, checkpoint};

/// The one embedding table goes by any of these names in a file.
const TIED: [&str; 4] = [
    "model.shared.weight",
    "lm_head.weight",
    "model.encoder.embed_tokens.weight",
    "model.decoder.embed_tokens.weight",
];
const LOGITS_BIAS: &str = "final_logits_bias";
const PREFIX: &str = "model.";
/// The embedding table in the state dict of an encoder alone.
const ENCODER_TABLE: &str = "embed_tokens.weight";

/// Old checkpoints have these, but no model ever used them.
const UNUSED: [&str; 2] = ["encoder.version", "decoder.version"];

impl Bart {
    /// Loads the weights of a model folder (f32, f16 or bf16; the parameters become f32): a checkpoint
    /// of Hugging Face's `BartForConditionalGeneration`, or of its `BartModel`, whose tensor names
    /// lack the leading `model.`.
    ///
    /// They are read from the first of these files that exists: `model.safetensors`,
    /// `model.safetensors.index.json`, `pytorch_model.bin`, `pytorch_model.bin.index.json`; the
    /// indices name files beside them. Nothing in a `.bin` file is run.
    ///
    /// # Errors
    /// If the configuration has a fault, or a file is missing, damaged, or of another shape, or has
    /// several embedding tables of different values.
    pub fn load(
        folder: &Path,
        config: &BartConfig,
        device: &Device,
    ) -> Result<Self, LanguageModelError> {
        config.validate()?;
        Self::from_tensors(&checkpoint::open(folder)?, config, device)
    }

    /// [`load`](Self::load) from an open file, which holds nothing else.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_tensors(
        file: &TensorFile,
        config: &BartConfig,
        device: &Device,
    ) -> Result<Self, LanguageModelError> {
        config.validate()?;
        let names = Names::of(file);
        checkpoint::check_ties(file, &names.table, names.tied.iter().map(String::as_str))?;
        let bart = config.init(device);
        let model =
            weights::load_with(bart.model, file, &|parameter| names.in_file(parameter), &|name| {
                name == LOGITS_BIAS || names.is_tied(name) || names.is_unused(name)
            })?;
        let final_logits_bias = logits_bias(file, config.vocab_size, device)?;
        Ok(Self { model, final_logits_bias, ..bart })
    }

    /// Replaces the encoder and the token embedding, which the decoder shares, by those of an open file
    /// that has them behind `prefix` under the names of Hugging Face's `BartEncoder`. What else the file
    /// has does not matter.
    ///
    /// # Errors
    /// [`LanguageModelError::Weights`] if a tensor is missing, of another shape, or unknown.
    pub fn with_encoder_from(
        mut self,
        file: &TensorFile,
        prefix: &str,
    ) -> Result<Self, LanguageModelError> {
        let table = format!("{prefix}{ENCODER_TABLE}");
        self.model.encoder = weights::load_with(
            self.model.encoder,
            file,
            &|parameter| format!("{prefix}{parameter}"),
            &|name| name == table || !name.starts_with(prefix),
        )?;
        self.model.shared =
            weights::load_with(self.model.shared, file, &|_| table.clone(), &|name| name != table)?;
        Ok(self)
    }

    /// Writes `model.safetensors` under Hugging Face's names, in `dtype` (f32, f16 or bf16), and
    /// removes what [`save_sharded`](Self::save_sharded) wrote into the same folder before.
    ///
    /// # Errors
    /// If the file can't be written or a weight does not fit into `dtype`.
    pub fn save(&self, folder: &Path, dtype: FloatDType) -> Result<(), LanguageModelError> {
        checkpoint::save(self, folder, dtype, &str::to_string)
    }

    /// As [`save`](Self::save), in files of at most `max_bytes` bytes of weights each
    /// (`model-00001-of-00003.safetensors`) and `model.safetensors.index.json`, which names them; as one
    /// `model.safetensors` if that is enough.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn save_sharded(
        &self,
        folder: &Path,
        max_bytes: u64,
        dtype: FloatDType,
    ) -> Result<(), LanguageModelError> {
        checkpoint::save_sharded(self, folder, max_bytes, dtype, &str::to_string)
    }
}

/// The bias of the logits, or `None` if it is zero or not there. It is a buffer: training leaves it
/// alone.
fn logits_bias(
    file: &TensorFile,
    vocabulary: usize,
    device: &Device,
) -> Result<Option<Param<Tensor<2>>>, WeightsError> {
    let Some(shape) = file.shape(LOGITS_BIAS) else { return Ok(None) };
    if shape != [1, vocabulary] {
        let problem =
            format!("{LOGITS_BIAS} has shape {shape:?}, the model needs [1, {vocabulary}]");
        let path = file.path().to_path_buf();
        return Err(WeightsError::Mismatch { path, problems: vec![problem] });
    }
    let values = file.floats(LOGITS_BIAS)?;
    if values.iter().all(|&value| value == 0.0) {
        return Ok(None);
    }
    let bias = Tensor::from_data(TensorData::new(values, shape), device);
    Ok(Some(Param::from_tensor(bias).set_require_grad(false)))
}

/// How a file names the tensors below `model`.
struct Names {
    prefix: &'static str,
    /// All names that the embedding table may have.
    tied: [String; TIED.len()],
    /// The one that it has.
    table: String,
}

impl Names {
    fn of(file: &TensorFile) -> Self {
        let names = file.names();
        let prefix = if names.iter().any(|name| name.starts_with(PREFIX)) { PREFIX } else { "" };
        let tied = TIED.map(|name| match name.strip_prefix(PREFIX) {
            Some(rest) => format!("{prefix}{rest}"),
            None => name.to_string(),
        });
        let table = tied.iter().find(|name| names.contains(name)).unwrap_or(&tied[0]).clone();
        Self { prefix, tied, table }
    }

    fn in_file(&self, parameter: &str) -> String {
        match parameter {
            "shared.weight" => self.table.clone(),
            other => format!("{}{other}", self.prefix),
        }
    }

    fn is_tied(&self, name: &str) -> bool {
        self.tied.iter().any(|tied| tied == name)
    }

    fn is_unused(&self, name: &str) -> bool {
        name.strip_prefix(self.prefix).is_some_and(|name| UNUSED.contains(&name))
    }
}
