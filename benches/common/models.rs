use anyhow::Result;
use burn::tensor::Device;
use latent_text::autoencoder::{
    LanguageAutoencoder, LatentSpace, LatentStatistics, PerceiverConfig,
};
use latent_text::denoiser::{DenoiserConfig, DenoisingNetwork};
use latent_text::diffusion::{NoiseScheduleConfig, Prediction};
use latent_text::generation::FORMAT_VERSION;
use latent_text::language_model::{BartConfig, GenerationConfig, LanguageModel, TextTokenizer};
use latent_text::{LatentText, ModelConfig, SamplingDefaults};

/// Latent vectors of a text.
pub const LATENTS: usize = 32;
/// Width of a latent vector.
pub const LATENT_DIM: usize = 64;
/// Tokens of a usual text of the E2E data.
pub const TOKENS: usize = 32;
/// Parameters of the denoiser with the default settings, which are LD4LG's.
pub const FULL_PARAMETERS: usize = 187_928_960;

/// The denoiser of the shipped models.
pub fn shipped_denoiser() -> DenoiserConfig {
    DenoiserConfig {
        latent_dim: LATENT_DIM,
        max_latents: LATENTS,
        dim: 256,
        depth: 6,
        ff_mult: 2,
        time_dim_mult: 1,
        ..DenoiserConfig::default()
    }
}

/// The language model of the shipped models.
pub fn shipped_bart() -> BartConfig {
    BartConfig {
        vocab_size: 4096,
        max_position_embeddings: 64,
        d_model: 256,
        encoder_layers: 3,
        encoder_attention_heads: 4,
        encoder_ffn_dim: 512,
        decoder_layers: 3,
        decoder_attention_heads: 4,
        decoder_ffn_dim: 512,
        ..BartConfig::default()
    }
}

/// The autoencoder of the shipped models.
pub fn shipped_perceiver() -> PerceiverConfig {
    PerceiverConfig {
        dim_lm: 256,
        latents: LATENTS,
        latent_dim: LATENT_DIM,
        layers: 2,
        ff_mult: 2,
        ..PerceiverConfig::default()
    }
}

/// BART-base.
pub fn bart_base() -> BartConfig {
    BartConfig {
        d_model: 768,
        encoder_layers: 6,
        encoder_attention_heads: 12,
        encoder_ffn_dim: 3072,
        decoder_layers: 6,
        decoder_attention_heads: 12,
        decoder_ffn_dim: 3072,
        ..BartConfig::default()
    }
}

/// A language model whose tokenizer knows single bytes only; its other ids stand for no text.
pub fn language_model(config: BartConfig, device: &Device) -> Result<LanguageModel> {
    let bytes = 261;
    let tokenizer = TextTokenizer::train_byte_level_bpe(["a", "b"], bytes)?;
    Ok(LanguageModel::new(config, tokenizer, device)?)
}

/// An autoencoder of texts.
pub fn autoencoder(
    bart: BartConfig,
    config: PerceiverConfig,
    device: &Device,
) -> Result<LanguageAutoencoder> {
    let perceiver = config.init(device);
    let space = LatentSpace::Perceiver { perceiver, config };
    Ok(LanguageAutoencoder::new(language_model(bart, device)?, space)?)
}

/// A whole model of these parts, which writes texts of `tokens` tokens.
pub fn model(
    (config, denoiser): (DenoiserConfig, DenoisingNetwork),
    autoencoder: LanguageAutoencoder,
    sampling: SamplingDefaults,
    tokens: usize,
    device: &Device,
) -> Result<LatentText> {
    let statistics = LatentStatistics { mean: vec![0.0; config.latent_dim], scale: 1.0, count: 1 };
    let config = ModelConfig {
        format_version: FORMAT_VERSION,
        denoiser: config.into(),
        schedule: NoiseScheduleConfig::default(),
        prediction: Prediction::V,
        labels: None,
        source: None,
        null_trained: true,
        statistics,
        lengths: None,
        length_predictor: None,
        weaker_denoiser: None,
        sampling,
        decoding: GenerationConfig {
            max_length: tokens,
            min_length: tokens,
            ..GenerationConfig::default()
        },
    };
    Ok(LatentText::new(config, autoencoder, denoiser, device)?)
}
