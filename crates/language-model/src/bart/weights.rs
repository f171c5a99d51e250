use std::path::{Path, PathBuf};

use burn::module::Param;
use burn::tensor::{Device, FloatDType, Tensor};
use latent_text_nn::weights::{self, TensorFile, WeightsError};

use super::Bart;
use crate::{BartConfig, LanguageModelError};

pub(crate) const WEIGHTS_FILE: &str = "model.safetensors";

/// The one embedding table goes by any of these names in a file.
const TIED: [&str; 4] = [
    "model.shared.weight",
    "lm_head.weight",
    "model.encoder.embed_tokens.weight",
    "model.decoder.embed_tokens.weight",
];
const LOGITS_BIAS: &str = "final_logits_bias";
const PREFIX: &str = "model.";

/// The weights of a model folder and their path.
pub(crate) fn open_weights(folder: &Path) -> Result<(PathBuf, TensorFile), LanguageModelError> {
    let path = folder.join(WEIGHTS_FILE);
    if !path.exists() {
        let advice = "a model folder needs its weights as one safetensors file";
        return Err(LanguageModelError::Missing { path, advice });
    }
    let file = TensorFile::open(&path)?;
    Ok((path, file))
}

impl Bart {
    /// Loads the weights of a model folder, `model.safetensors` (f32, f16 or bf16; the parameters
    /// become f32): a checkpoint of Hugging Face's `BartForConditionalGeneration`, or of its
    /// `BartModel`, whose tensor names lack the leading `model.`.
    ///
    /// # Errors
    /// If the configuration has a fault, or the file is missing, damaged, or of another shape.
    pub fn load(
        folder: &Path,
        config: &BartConfig,
        device: &Device,
    ) -> Result<Self, LanguageModelError> {
        config.validate()?;
        let (path, file) = open_weights(folder)?;
        let names = Names::of(&file);
        let bart = config.init(device);
        let model = weights::load_with(
            bart.model,
            &file,
            &|parameter| names.in_file(parameter),
            &|name| name == LOGITS_BIAS || names.is_tied(name),
        )?;
        let final_logits_bias = if file.shape(LOGITS_BIAS).is_some() {
            logits_bias(&file, config.vocab_size, &path, device)?
        } else {
            None
        };
        Ok(Self { model, final_logits_bias, ..bart })
    }

    /// Writes `model.safetensors` under Hugging Face's names, in `dtype` (f32, f16 or bf16).
    ///
    /// # Errors
    /// If the file can't be written or a weight does not fit into `dtype`.
    pub fn save(&self, folder: &Path, dtype: FloatDType) -> Result<(), LanguageModelError> {
        weights::save(self, &folder.join(WEIGHTS_FILE), dtype, &str::to_string)?;
        Ok(())
    }
}

/// The bias of the logits, or `None` if it is zero. It is a buffer: training leaves it alone.
fn logits_bias(
    file: &TensorFile,
    vocabulary: usize,
    path: &Path,
    device: &Device,
) -> Result<Option<Param<Tensor<2>>>, WeightsError> {
    let bias = file.tensor::<2>(LOGITS_BIAS, device)?;
    let problem = |problem: String| WeightsError::Tensor {
        path: path.to_path_buf(),
        name: LOGITS_BIAS.to_string(),
        problem,
    };
    if bias.dims() != [1, vocabulary] {
        let found = bias.dims();
        return Err(problem(format!("has shape {found:?}, the model needs [1, {vocabulary}]")));
    }
    let values = bias
        .clone()
        .try_into_vec_as::<f32>()
        .map_err(|error| problem(format!("can't be read back from the device: {error}")))?;
    let is_zero = values.iter().all(|&value| value == 0.0);
    Ok((!is_zero).then(|| Param::from_tensor(bias).set_require_grad(false)))
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
}
