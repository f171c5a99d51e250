//! The autoencoder of the second version: the whole language model and the Perceiver.

use burn::tensor::Device;
use latent_text_autoencoder::{
    LanguageAutoencoder, LatentNorm, LatentSpace, PerceiverConfig, reference_name,
};
use latent_text_language_model::LanguageModel;
use latent_text_nn::weights::{TensorFile, load_with};
use std::path::Path;

use crate::ReferenceError;
use crate::arguments::Arguments;
use crate::run::Run;
use crate::tensors::Tensors;

const PREFIX: &str = "perceiver_ae.";
const POSITIONS: &str = "perceiver_encoder.pos_emb.emb.weight";
const TEXT_KEY_VALUE: &str = "to_kv.";
const LATENT_KEY_VALUE: &str = "latent_to_kv.";

/// Reads the autoencoder of a run; `language_model` is the folder of its language model's configuration
/// and tokenizer.
pub(crate) fn load(
    run: &Run,
    language_model: &Path,
    device: &Device,
) -> Result<LanguageAutoencoder, ReferenceError> {
    let mut file = run.open(&["model"])?;
    let config = config(&run.arguments, &Tensors { file: &file, prefix: PREFIX })?;
    // mT5's autoencoders have more positions than tokens that they were trained with.
    file.keep_rows(&format!("{PREFIX}{POSITIONS}"), config.max_tokens)?;
    let shares_key_value = !Tensors { file: &file, prefix: PREFIX }
        .has(&format!("perceiver_encoder.layers.0.0.{LATENT_KEY_VALUE}weight"));
    let name_of = |path: &str| {
        let name = format!("{PREFIX}{}", reference_name(path));
        if shares_key_value { name.replace(LATENT_KEY_VALUE, TEXT_KEY_VALUE) } else { name }
    };
    let ignore = |name: &str| !name.starts_with(PREFIX);
    let perceiver = load_with(config.init(device), &file, &name_of, &ignore)?;

    file.retain(|name| !name.starts_with(PREFIX));
    let language_model = LanguageModel::load_with_weights(language_model, &file, device)?;
    let space = LatentSpace::Perceiver { perceiver, config };
    Ok(LanguageAutoencoder::new(language_model, space)?)
}

/// The tensors of the autoencoder's language model.
pub(crate) fn language_model_tensors(run: &Run) -> Result<TensorFile, ReferenceError> {
    let mut file = run.open(&["model"])?;
    file.retain(|name| !name.starts_with(PREFIX));
    Ok(file)
}

fn config(arguments: &Arguments, tensors: &Tensors<'_>) -> Result<PerceiverConfig, ReferenceError> {
    if tensors.has("perceiver_decoder.latents") {
        return Err(tensors.refused(
            "reconstructs with a second Perceiver, an option of the published code that no published \
             model uses and that is not known here"
                .to_string(),
        ));
    }
    let [latents, latent_dim] = tensors.shape("perceiver_encoder.latents")?;
    let [positions, dim_lm] = tensors.shape(POSITIONS)?;
    let [head_dim] = tensors.shape("perceiver_encoder.layers.0.0.query_norm.gamma")?;
    let [inner, _] = tensors.shape("perceiver_encoder.layers.0.1.1.weight")?;
    let layers = tensors.count("perceiver_encoder.layers.");
    let max_tokens = arguments.given("max_seq_len")?.unwrap_or(positions);
    if max_tokens > positions {
        let problem = format!("the checkpoint has only {positions} positions");
        return Err(arguments.refused("max_seq_len", max_tokens, problem));
    }
    arguments.check_size("num_encoder_latents", latents)?;
    arguments.check_size("dim_ae", latent_dim)?;
    arguments.check_size("num_layers", layers)?;
    let is_l2 = "whether the latents are l2-normalised";
    let config = PerceiverConfig {
        dim_lm,
        latents,
        latent_dim,
        layers,
        head_dim,
        ff_mult: tensors.multiple("a feed-forward network", inner, latent_dim)?,
        max_tokens,
        latent_norm: match arguments.needed("l2_normalize_latents", is_l2)? {
            true => LatentNorm::L2,
            false => LatentNorm::None,
        },
        ..PerceiverConfig::default()
    };
    config.validate()?;
    Ok(config)
}
