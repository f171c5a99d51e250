//! The denoiser, of either version.

use burn::tensor::Device;
use latent_text_denoiser::{DenoiserConfig, DenoisingNetwork, DenoisingNetworkConfig, SkipRule};
use latent_text_nn::weights::load_with;

use crate::ReferenceError;
use crate::arguments::Arguments;
use crate::encoder_space;
use crate::tensors::Tensors;

/// The running average of the denoiser's weights.
pub(crate) const PREFIX: &str = "ema_model.diffusion_model.";

/// Reads the denoiser; `head_dim` is the width of an attention head, which no tensor shows.
pub(crate) fn load(
    arguments: &Arguments,
    tensors: &Tensors<'_>,
    head_dim: usize,
    device: &Device,
) -> Result<(DenoisingNetworkConfig, DenoisingNetwork), ReferenceError> {
    let config: DenoisingNetworkConfig = if encoder_space::is_first_version(tensors) {
        encoder_space::config(arguments, tensors, head_dim)?.into()
    } else {
        config(arguments, tensors, head_dim)?.into()
    };
    config.validate()?;
    let name_of = |path: &str| tensors.full(&config.reference_name(path));
    let ignore = |name: &str| !name.starts_with(tensors.prefix);
    let denoiser = load_with(config.init(device), tensors.file, &name_of, &ignore)?;
    Ok((config, denoiser))
}

fn config(
    arguments: &Arguments,
    tensors: &Tensors<'_>,
    head_dim: usize,
) -> Result<DenoiserConfig, ReferenceError> {
    arguments.check_set("self_condition", "denoisers here read their previous estimate")?;
    let sizes = Sizes::read(arguments, tensors, tensors.has("seq2seq_proj.weight"))?;
    let dense_connections = tensors.count("encoder.dense_projections.");
    arguments.check_size("num_dense_connections", dense_connections)?;
    let source_dim = match tensors.has("seq2seq_proj.weight") {
        true => Some(tensors.shape::<2>("seq2seq_proj.weight")?[1]),
        false => None,
    };
    Ok(DenoiserConfig {
        latent_dim: sizes.latent_dim,
        max_latents: sizes.max_latents,
        dim: sizes.dim,
        depth: sizes.depth,
        head_dim,
        ff_mult: sizes.ff_mult,
        time_dim_mult: sizes.time_dim_mult,
        dense_connections,
        // Its weights were trained with what the published code computes.
        skips: SkipRule::ReferenceStack,
        dropout: sizes.dropout,
        classes: classes(tensors, "class_embedding.0.weight")?,
        source_dim,
    })
}

/// The number of classes of a table that has the null class behind them; none without the table.
pub(crate) fn classes(tensors: &Tensors<'_>, table: &str) -> Result<Option<usize>, ReferenceError> {
    if !tensors.has(table) {
        return Ok(None);
    }
    let [rows, _] = tensors.shape(table)?;
    match rows.checked_sub(1) {
        Some(classes) if classes > 0 => Ok(Some(classes)),
        _ => Err(tensors.refused(format!(
            "has {rows} rows in `{}`, which are too few for classes and the null class",
            tensors.full(table)
        ))),
    }
}

/// What denoisers of both versions have.
pub(crate) struct Sizes {
    pub(crate) latent_dim: usize,
    pub(crate) max_latents: usize,
    pub(crate) dim: usize,
    pub(crate) depth: usize,
    pub(crate) ff_mult: usize,
    pub(crate) time_dim_mult: usize,
    pub(crate) dropout: f64,
}

impl Sizes {
    pub(crate) fn read(
        arguments: &Arguments,
        tensors: &Tensors<'_>,
        cross_attention: bool,
    ) -> Result<Self, ReferenceError> {
        let unscaled = "the feed-forward layers here are scaled and shifted by the time";
        arguments.check_set("scale_shift", unscaled)?;
        let [latent_dim, dim] = tensors.shape("output_proj.weight")?;
        let [max_latents, _] = tensors.shape("pos_emb.emb.weight")?;
        let [time_dim, _] = tensors.shape("time_mlp.1.weight")?;
        let of_layer = 2 + usize::from(cross_attention);
        let sub_layers = tensors.count("encoder.layers.");
        let depth = tensors.multiple("a number of sub-layers", sub_layers, of_layer)?;
        let feed_forward = format!("encoder.layers.{}.1.ff.3.weight", of_layer - 1);
        let [_, inner] = tensors.shape(&feed_forward)?;
        arguments.check_size("tx_dim", dim)?;
        arguments.check_size("tx_depth", depth)?;
        Ok(Self {
            latent_dim,
            max_latents,
            dim,
            depth,
            ff_mult: tensors.multiple("a feed-forward network", inner, dim)?,
            time_dim_mult: tensors.multiple("an embedding of the time", time_dim, dim)?,
            dropout: dropout(arguments)?,
        })
    }
}

/// Of no consequence for a model that is not trained any more; runs without one in their arguments
/// get what the published code has by default.
fn dropout(arguments: &Arguments) -> Result<f64, ReferenceError> {
    const DEFAULT: f64 = 0.1;
    let is_off = arguments.given("disable_dropout")?.unwrap_or(false);
    Ok(if is_off { 0.0 } else { arguments.given("dropout")?.unwrap_or(DEFAULT) })
}
