use std::path::Path;

use burn::tensor::{Device, FloatDType};
use latent_text_nn::weights::{self, TensorFile, WeightsError};

use super::T5;
use crate::bart::{WEIGHTS_FILE, open_weights};
use crate::files::create_folder;
use crate::{LanguageModelError, T5Config};

/// The one embedding table goes by any of these names in a file, and by `HEAD` if the output layer
/// shares it.
const TABLE: [&str; 3] =
    ["shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"];
const HEAD: &str = "lm_head.weight";

/// Old checkpoints have it, but no model ever used it.
const UNUSED: &str = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight";

impl T5 {
    /// Loads the weights of a model folder, `model.safetensors` (f32, f16 or bf16; the parameters
    /// become f32): a checkpoint of Hugging Face's `T5ForConditionalGeneration`, or of the same for
    /// mT5.
    ///
    /// The output layer has weights of its own if the file has an `lm_head.weight` of other values
    /// than the token embedding; else the two are tied, whatever the configuration says.
    ///
    /// # Errors
    /// If the configuration has a fault, or the file is missing, damaged, or of another shape, or has
    /// several embedding tables of different values.
    pub fn load(
        folder: &Path,
        config: &T5Config,
        device: &Device,
    ) -> Result<Self, LanguageModelError> {
        config.validate()?;
        let (path, file) = open_weights(folder)?;
        let tables = Tables::of(&file, &path, device)?;
        let model = weights::load_with(
            config.init_with_head(tables.own_head, device),
            &file,
            &|parameter| match parameter {
                "shared.weight" => tables.name.clone(),
                other => in_file(other, config.feed_forward_proj.is_gated()),
            },
            &|name| name == UNUSED || tables.copies.iter().any(|copy| copy == name),
        )?;
        Ok(model)
    }

    /// Writes `model.safetensors` under Hugging Face's names, in `dtype` (f32, f16 or bf16).
    ///
    /// # Errors
    /// If the file can't be written or a weight does not fit into `dtype`.
    pub fn save(&self, folder: &Path, dtype: FloatDType) -> Result<(), LanguageModelError> {
        create_folder(folder)?;
        let name_of = |parameter: &str| in_file(parameter, self.gated);
        weights::save(self, &folder.join(WEIGHTS_FILE), dtype, &name_of)?;
        Ok(())
    }
}

/// How a checkpoint names a parameter of this crate's module.
fn in_file(parameter: &str, gated: bool) -> String {
    const BIAS: &str = ".block.0.layer.0.SelfAttention.relative_attention_bias.";
    let feed_forward = if parameter.starts_with("encoder.") { ".layer.1." } else { ".layer.2." };
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
    name: String,
    /// Names under which the same table is there again.
    copies: Vec<String>,
    own_head: bool,
}

impl Tables {
    fn of(file: &TensorFile, path: &Path, device: &Device) -> Result<Self, WeightsError> {
        let mut found = TABLE.into_iter().filter(|name| file.shape(name).is_some());
        let has_head = file.shape(HEAD).is_some();
        let Some(name) = found.next() else {
            let name = if has_head { HEAD } else { TABLE[0] };
            return Ok(Self { name: name.to_string(), copies: Vec::new(), own_head: false });
        };
        let mut copies = Vec::new();
        for other in found {
            if !are_equal(file, name, other, device)? {
                let problem = format!("{other} must be the same as {name}, but has other values");
                let path = path.to_path_buf();
                return Err(WeightsError::Mismatch { path, problems: vec![problem] });
            }
            copies.push(other.to_string());
        }
        let own_head = has_head && !are_equal(file, name, HEAD, device)?;
        if has_head && !own_head {
            copies.push(HEAD.to_string());
        }
        Ok(Self { name: name.to_string(), copies, own_head })
    }
}

fn are_equal(
    file: &TensorFile,
    name: &str,
    other: &str,
    device: &Device,
) -> Result<bool, WeightsError> {
    if file.shape(name) != file.shape(other) {
        return Ok(false);
    }
    let same = file.tensor::<2>(name, device)?.equal(file.tensor::<2>(other, device)?);
    same.all().try_into_scalar::<bool>().map_err(|error| WeightsError::Device {
        name: other.to_string(),
        problem: error.to_string(),
    })
}
