use std::path::Path;

use burn::tensor::{Device, FloatDType};
use latent_text_nn::weights::{self, TensorFile, WeightsError};

use super::T5;
use crate::{LanguageModelError, T5Config, checkpoint};

/// The one embedding table goes by any of these names in a file, and by `HEAD` if the output layer
/// shares it.
const TABLE: [&str; 3] =
    ["shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"];
const HEAD: &str = "lm_head.weight";

const ENCODER: &str = "encoder.";
/// The embedding table in the state dict of an encoder alone.
const ENCODER_TABLE: &str = "embed_tokens.weight";

/// Old checkpoints have it, but no model ever used it.
const UNUSED: &str = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight";

impl T5 {
    /// Loads the weights of a model folder (f32, f16 or bf16; the parameters become f32): a checkpoint
    /// of Hugging Face's `T5ForConditionalGeneration`, or of the same for mT5. It may be in any of the
    /// files that [`Bart::load`](crate::Bart::load) reads.
    ///
    /// The output layer has weights of its own if there is an `lm_head.weight` of other values than
    /// the token embedding; else the two are tied, whatever the configuration says.
    ///
    /// # Errors
    /// If the configuration has a fault, or a file is missing, damaged, or of another shape, or has
    /// several embedding tables of different values.
    pub fn load(
        folder: &Path,
        config: &T5Config,
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
        config: &T5Config,
        device: &Device,
    ) -> Result<Self, LanguageModelError> {
        config.validate()?;
        let tables = Tables::of(file)?;
        let model = weights::load_with(
            config.init_with_head(tables.own_head, device),
            file,
            &|parameter| match parameter {
                "shared.weight" => tables.name.to_string(),
                other => in_file(other, config.feed_forward_proj.is_gated()),
            },
            &|name| name == UNUSED || tables.is_copy(name),
        )?;
        Ok(model)
    }

    /// Replaces the encoder and the token embedding, which the decoder shares, by those of an open file
    /// that has them behind `prefix` under the names of Hugging Face's `T5Stack`. What else the file has
    /// does not matter.
    ///
    /// # Errors
    /// [`LanguageModelError::Weights`] if a tensor is missing, of another shape, or unknown.
    pub fn with_encoder_from(
        mut self,
        file: &TensorFile,
        prefix: &str,
    ) -> Result<Self, LanguageModelError> {
        let table = format!("{prefix}{ENCODER_TABLE}");
        let gated = self.gated;
        self.encoder = weights::load_with(
            self.encoder,
            file,
            &|parameter| {
                let whole = in_file(&format!("{ENCODER}{parameter}"), gated);
                format!("{prefix}{}", whole.trim_start_matches(ENCODER))
            },
            &|name| name == table || !name.starts_with(prefix),
        )?;
        self.shared =
            weights::load_with(self.shared, file, &|_| table.clone(), &|name| name != table)?;
        Ok(self)
    }

    /// Writes `model.safetensors` under Hugging Face's names, in `dtype` (f32, f16 or bf16), and
    /// removes what [`save_sharded`](Self::save_sharded) wrote into the same folder before.
    ///
    /// # Errors
    /// If the file can't be written or a weight does not fit into `dtype`.
    pub fn save(&self, folder: &Path, dtype: FloatDType) -> Result<(), LanguageModelError> {
        checkpoint::save(self, folder, dtype, &|parameter| in_file(parameter, self.gated))
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
        let name_of = |parameter: &str| in_file(parameter, self.gated);
        checkpoint::save_sharded(self, folder, max_bytes, dtype, &name_of)
    }
}

/// How a checkpoint names a parameter of this crate's module.
fn in_file(parameter: &str, gated: bool) -> String {
    const BIAS: &str = ".block.0.layer.0.SelfAttention.relative_attention_bias.";
    let feed_forward = if parameter.starts_with(ENCODER) { ".layer.1." } else { ".layer.2." };
    let name = parameter
        .replace(".relative_attention_bias.", BIAS)
        .replace(".self_attention.attention.", ".layer.0.SelfAttention.")
        .replace(".self_attention.", ".layer.0.")
        .replace(".cross_attention.attention.", ".layer.1.EncDecAttention.")
        .replace(".cross_attention.", ".layer.1.")
        .replace(".feed_forward.dense.", ".feed_forward.DenseReluDense.")
        .replace(".feed_forward.", feed_forward);
    if gated { name.replace(".wi.", ".wi_0.") } else { name }
}

/// Where a file has the token embedding and the output layer.
struct Tables {
    /// The name of the token embedding.
    name: &'static str,
    own_head: bool,
}

impl Tables {
    fn of(file: &TensorFile) -> Result<Self, WeightsError> {
        let has = |name: &str| file.shape(name).is_some();
        let Some(name) = TABLE.into_iter().find(|name| has(name)) else {
            let name = if has(HEAD) { HEAD } else { TABLE[0] };
            return Ok(Self { name, own_head: false });
        };
        checkpoint::check_ties(file, name, TABLE)?;
        Ok(Self { name, own_head: has(HEAD) && !file.are_equal(name, HEAD)? })
    }

    /// Whether the table is there again under `name`.
    fn is_copy(&self, name: &str) -> bool {
        TABLE.contains(&name) || (name == HEAD && !self.own_head)
    }
}
