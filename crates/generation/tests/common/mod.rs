//! A model of a few hundred kilobytes with random parameters, the same ones on every run.

#![allow(dead_code)] // Each test uses some of this module.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, FloatDType, Tensor};
use latent_text_autoencoder::{
    EncoderLatentsConfig, LanguageAutoencoder, LatentNorm, LatentSpace, LatentStatistics,
    PerceiverConfig,
};
use latent_text_conditioning::{ClassLabels, LengthDistribution};
use latent_text_denoiser::{
    DenoiserConfig, DenoisingNetwork, DenoisingNetworkConfig, EncoderSpaceDenoiserConfig,
};
use latent_text_diffusion::schedule::Table;
use latent_text_diffusion::spacing::Trailing;
use latent_text_diffusion::{
    NoiseScheduleConfig, Prediction, SampleNoise, SamplerKind, ScheduleKind, Spacing,
};
use latent_text_generation::{
    FORMAT_VERSION, LatentText, ModelConfig, SamplingDefaults, SourceConfig, SourceEncoder,
};
use latent_text_language_model::{BartConfig, GenerationConfig, LanguageModel, TextTokenizer};

pub const LABELS: [&str; 3] = ["pub", "cafe", "inn"];
pub const LATENT_DIM: usize = 8;

/// Texts have at most so many tokens.
pub const MAX_TOKENS: usize = 16;

/// Sources of a model for sources have at most so many tokens.
pub const SOURCE_TOKENS: usize = 14;

/// A class-conditional model.
pub fn conditional() -> LatentText {
    model(Some(ClassLabels::new(LABELS).unwrap()), LatentNorm::L2)
}

/// A model without classes.
pub fn unconditional() -> LatentText {
    model(None, LatentNorm::L2)
}

pub fn model(labels: Option<ClassLabels>, latent_norm: LatentNorm) -> LatentText {
    let device = Device::default();
    let config = config(labels);
    let autoencoder = autoencoder(latent_norm, &device);
    let denoiser = randomised(config.denoiser.init(&device));
    LatentText::new(config, autoencoder, denoiser, &device).unwrap()
}

/// A class-conditional model for sources, which the autoencoder's encoder or one of another width reads.
pub fn for_sources(encoder: SourceEncoder) -> LatentText {
    let device = Device::default();
    let mut config = config(Some(ClassLabels::new(LABELS).unwrap()));
    config.source = Some(SourceConfig { encoder, max_tokens: SOURCE_TOKENS });
    let autoencoder = autoencoder(LatentNorm::L2, &device);
    if encoder == SourceEncoder::Autoencoder {
        latent_denoiser(&mut config).source_dim = Some(16);
        let denoiser = denoiser(&config, &device);
        return LatentText::new(config, autoencoder, denoiser, &device).unwrap();
    }
    latent_denoiser(&mut config).source_dim = Some(24);
    let (denoiser, encoder) = (denoiser(&config, &device), language_model(24, &device));
    LatentText::with_source_encoder(config, autoencoder, denoiser, &device, encoder).unwrap()
}

/// What LD4LG's first version has: diffusion over the encoder's states, as many as a text has tokens.
pub fn encoder_space(labels: Option<ClassLabels>) -> LatentText {
    let classes = labels.as_ref().map(|labels| labels.names().len());
    let config = encoder_space_config(labels);
    let denoiser = EncoderSpaceDenoiserConfig {
        latent_dim: 16,
        max_latents: MAX_TOKENS,
        dim: 16,
        depth: 2,
        head_dim: 8,
        ff_mult: 2,
        time_dim_mult: 1,
        relative_buckets: 8,
        relative_distance: 8,
        dropout: 0.0,
        classes,
    };
    over_encoder_states(ModelConfig { denoiser: denoiser.into(), ..config })
}

/// The second version's denoiser over the encoder's states, for sources of another encoder.
pub fn bart_diffusion() -> LatentText {
    let device = Device::default();
    let mut config = encoder_space_config(None);
    config.source = Some(SourceConfig { encoder: SourceEncoder::Own, max_tokens: SOURCE_TOKENS });
    let settings = latent_denoiser(&mut config);
    (settings.latent_dim, settings.max_latents, settings.source_dim) = (16, MAX_TOKENS, Some(24));
    let denoiser = denoiser(&config, &device);
    let (autoencoder, encoder) = (encoder_states(&device), language_model(24, &device));
    LatentText::with_source_encoder(config, autoencoder, denoiser, &device, encoder).unwrap()
}

/// A model over encoder states of this configuration.
pub fn over_encoder_states(config: ModelConfig) -> LatentText {
    let device = Device::default();
    let denoiser = denoiser(&config, &device);
    LatentText::new(config, encoder_states(&device), denoiser, &device).unwrap()
}

/// LD4LG's first version but for the denoiser. Every other length occurs in its training set.
pub fn encoder_space_config(labels: Option<ClassLabels>) -> ModelConfig {
    let counts = (1..=MAX_TOKENS as u64).map(|length| length % 2 * length).collect();
    ModelConfig {
        schedule: NoiseScheduleConfig {
            kind: ScheduleKind::Table(Table::default()),
            ..NoiseScheduleConfig::default()
        },
        prediction: Prediction::X0,
        lengths: Some(LengthDistribution::from_counts(counts).unwrap()),
        statistics: LatentStatistics { mean: vec![0.5; 16], scale: 1.5, count: 100 },
        sampling: SamplingDefaults {
            sampler: SamplerKind::DdpmSmall,
            steps: 5,
            spacing: Spacing::Trailing(Trailing {}),
            ..SamplingDefaults::default()
        },
        ..config(labels)
    }
}

/// The encoder's states as latents.
pub fn encoder_states(device: &Device) -> LanguageAutoencoder {
    let config = EncoderLatentsConfig { dim_lm: 16, max_tokens: MAX_TOKENS };
    LanguageAutoencoder::new(language_model(16, device), LatentSpace::Encoder { config }).unwrap()
}

/// A denoiser with random parameters.
pub fn denoiser(config: &ModelConfig, device: &Device) -> DenoisingNetwork {
    randomised(config.denoiser.init(device))
}

/// The settings of a denoiser that is not of encoder space.
pub fn latent_denoiser(config: &mut ModelConfig) -> &mut DenoiserConfig {
    match &mut config.denoiser {
        DenoisingNetworkConfig::Latent(config) => config,
        DenoisingNetworkConfig::EncoderSpace(_) => panic!("it is of encoder space"),
    }
}

pub fn config(labels: Option<ClassLabels>) -> ModelConfig {
    ModelConfig {
        format_version: FORMAT_VERSION,
        denoiser: DenoiserConfig {
            latent_dim: LATENT_DIM,
            max_latents: 4,
            dim: 16,
            depth: 2,
            head_dim: 8,
            ff_mult: 2,
            time_dim_mult: 1,
            dense_connections: 1,
            classes: labels.as_ref().map(|labels| labels.names().len()),
            ..DenoiserConfig::default()
        }
        .into(),
        schedule: NoiseScheduleConfig::default(),
        prediction: Prediction::V,
        labels,
        statistics: LatentStatistics { mean: vec![3.0; LATENT_DIM], scale: 2.0, count: 100 },
        lengths: None,
        length_predictor: None,
        weaker_denoiser: None,
        source: None,
        null_trained: true,
        sampling: SamplingDefaults {
            sampler: SamplerKind::Ddpm,
            steps: 6,
            ..SamplingDefaults::default()
        },
        decoding: GenerationConfig { max_length: MAX_TOKENS, ..GenerationConfig::default() },
    }
}

pub fn autoencoder(latent_norm: LatentNorm, device: &Device) -> LanguageAutoencoder {
    let config = PerceiverConfig {
        dim_lm: 16,
        latents: 4,
        latent_dim: LATENT_DIM,
        layers: 1,
        head_dim: 8,
        ff_mult: 2,
        max_tokens: MAX_TOKENS,
        latent_norm,
        ..PerceiverConfig::default()
    };
    let perceiver = randomised(config.init(device));
    let space = LatentSpace::Perceiver { perceiver, config };
    LanguageAutoencoder::new(language_model(16, device), space).unwrap()
}

fn language_model(d_model: usize, device: &Device) -> LanguageModel {
    let tokenizer = TextTokenizer::train_byte_level_bpe(words(), 1000).unwrap();
    let bart = BartConfig {
        vocab_size: tokenizer.vocab_size(),
        max_position_embeddings: MAX_TOKENS,
        d_model,
        encoder_layers: 1,
        encoder_attention_heads: 2,
        encoder_ffn_dim: 32,
        decoder_layers: 1,
        decoder_attention_heads: 2,
        decoder_ffn_dim: 32,
        ..BartConfig::default()
    };
    let mut language_model = LanguageModel::new(bart, tokenizer, device).unwrap();
    language_model.model = randomised(language_model.model);
    language_model
}

/// Made-up words, so many that few tokens of the vocabulary are single bytes.
fn words() -> impl Iterator<Item = String> + Send {
    let syllable = |number: usize| {
        let consonant = b"bdfgklmnprst"[number % 12] as char;
        let vowel = b"aeiou"[number / 12 % 5] as char;
        format!("{consonant}{vowel}")
    };
    (0..2 * 3600).map(move |number| format!("{}{} ", syllable(number), syllable(number / 60)))
}

/// The module with its matrices drawn anew, independently of the device's own generator, and so large
/// that texts differ. They are f16 numbers, which a file in f16 holds exactly.
pub fn randomised<M: Module>(module: M) -> M {
    module.map(&mut Draw { noise: SampleNoise::new(1, [0]), path: Vec::new(), parts: 1 })
}

struct Draw {
    noise: SampleNoise,
    path: Vec<String>,
    /// How many layers the parameters of the module belong to: those of a joined one are drawn one by one.
    parts: usize,
}

impl ModuleMapper for Draw {
    fn enter_module(&mut self, name: &str, container: &str) {
        if container == "Struct:JoinedLinear" {
            let joined = self.path.last().expect("a field that holds the module");
            self.parts = joined.split('_').count();
        }
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
        self.parts = 1;
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| {
            let shape = tensor.shape();
            if D == 1 {
                let is_gain =
                    self.path.last().is_some_and(|name| name == "gamma" || name == "gain");
                return tensor.full_like(if is_gain { 1.0 } else { 0.0 });
            }
            let part = [shape[0], shape.num_elements() / shape[0] / self.parts];
            let draw = |_| {
                let values = self.noise.normal([1, part[0] * part[1]], &tensor.device());
                values.reshape(part)
            };
            let values: Tensor<2> = Tensor::cat((0..self.parts).map(draw).collect(), 1);
            values.cast(FloatDType::F16).cast(FloatDType::F32).reshape(shape)
        })
    }
}
