use burn::tensor::{Bool, FloatDType, Tensor};
use latent_text_nn::cast_module;

use crate::{AutoencoderConfig, EncoderLatentsConfig, Latents, Perceiver, PerceiverConfig};

/// What stands between the encoder and the decoder of a language model.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a program has one or two of them, full of tensors")]
pub enum LatentSpace {
    /// A Perceiver that makes a fixed number of small vectors.
    Perceiver {
        /// The networks, on the language model's device and in its dtype.
        perceiver: Perceiver,
        /// What they were made from.
        config: PerceiverConfig,
    },
    /// Nothing: the encoder's states are the latents, in varying number.
    Encoder {
        /// Their size.
        config: EncoderLatentsConfig,
    },
}

impl LatentSpace {
    /// The settings.
    pub fn config(&self) -> AutoencoderConfig {
        match self {
            Self::Perceiver { config, .. } => config.clone().into(),
            Self::Encoder { config } => config.clone().into(),
        }
    }

    /// The latents of texts, whose encoder states are `states`, `[batch, tokens, dim_lm]`, and real
    /// where `mask`, `[batch, tokens]`, is true.
    ///
    /// # Panics
    /// If there are more tokens than `max_tokens`, or if a shape is not as above.
    pub fn compress(&self, states: Tensor<3>, mask: Tensor<2, Bool>) -> Latents {
        match self {
            Self::Perceiver { perceiver, .. } => perceiver.compress(states, Some(mask)).into(),
            Self::Encoder { config } => {
                let [_, tokens, _] = states.dims();
                let most = config.max_tokens;
                assert!(tokens <= most, "{tokens} tokens are too many for latents of {most}");
                Latents { values: states, mask: Some(mask) }
            }
        }
    }

    /// States for the language model's decoder, `[batch, latents, dim_lm]`, and which of them it may
    /// see, `[batch, latents]`; none if all.
    ///
    /// # Panics
    /// If there are more latents than the settings say, or if their width is another.
    pub fn reconstruct(&self, latents: Latents) -> (Tensor<3>, Option<Tensor<2, Bool>>) {
        match self {
            Self::Perceiver { perceiver, .. } => (perceiver.reconstruct(latents.values), None),
            Self::Encoder { .. } => (latents.values, latents.mask),
        }
    }

    /// A copy whose parameters have another dtype.
    pub fn cast(&self, dtype: FloatDType) -> Self {
        match self {
            Self::Perceiver { perceiver, config } => Self::Perceiver {
                perceiver: cast_module(perceiver.clone(), dtype),
                config: config.clone(),
            },
            Self::Encoder { .. } => self.clone(),
        }
    }
}
