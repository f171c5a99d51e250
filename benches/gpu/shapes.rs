//! How large everything is.

use latent_text::autoencoder::PerceiverConfig;
use latent_text::denoiser::DenoiserConfig;
use latent_text::language_model::BartConfig;

use crate::common::{LATENTS, bart_base};

pub struct Shapes {
    pub denoiser: DenoiserConfig,
    /// Latent vectors of a text.
    pub latents: usize,
    /// Batches of the denoiser and its training.
    pub batches: Vec<usize>,
    /// Sampling steps.
    pub steps: usize,
    /// Texts that are sampled and decoded together.
    pub texts: usize,
    /// Tokens of a text.
    pub tokens: usize,
    pub bart: BartConfig,
    pub perceiver: PerceiverConfig,
    pub sweep: SweepShapes,
}

/// What the denoiser's cost is measured against.
pub struct SweepShapes {
    /// Batches, at the usual number of latents.
    pub batches: Vec<usize>,
    /// Numbers of latents, at the batch below.
    pub lengths: Vec<usize>,
    pub batch: usize,
}

impl Shapes {
    /// Those of LD4LG.
    pub fn full(batches: &[usize]) -> Self {
        Self {
            denoiser: DenoiserConfig::default(),
            latents: LATENTS,
            batches: batches.to_vec(),
            steps: 250,
            texts: 256,
            tokens: 64,
            bart: bart_base(),
            perceiver: PerceiverConfig::default(),
            sweep: SweepShapes {
                batches: powers_of_two(1, 1024),
                lengths: powers_of_two(16, 256),
                batch: 64,
            },
        }
    }

    /// Those of the PyTorch bench's rehearsal.
    pub fn tiny() -> Self {
        Self {
            denoiser: DenoiserConfig {
                latent_dim: 16,
                dim: 128,
                depth: 4,
                dense_connections: 2,
                ..DenoiserConfig::default()
            },
            latents: 8,
            batches: vec![2, 4],
            steps: 5,
            texts: 4,
            tokens: 8,
            bart: tiny_bart(),
            perceiver: PerceiverConfig {
                dim_lm: 128,
                latents: 8,
                latent_dim: 16,
                layers: 1,
                ..PerceiverConfig::default()
            },
            sweep: SweepShapes {
                batches: powers_of_two(1, 16),
                lengths: powers_of_two(4, 32),
                batch: 2,
            },
        }
    }

    /// The latents of a batch.
    pub fn of_batch(&self, batch: usize) -> [usize; 3] {
        [batch, self.latents, self.denoiser.latent_dim]
    }
}

fn tiny_bart() -> BartConfig {
    BartConfig {
        vocab_size: 1000,
        max_position_embeddings: 128,
        d_model: 128,
        encoder_layers: 1,
        encoder_attention_heads: 2,
        encoder_ffn_dim: 256,
        decoder_layers: 2,
        decoder_attention_heads: 2,
        decoder_ffn_dim: 256,
        ..BartConfig::default()
    }
}

fn powers_of_two(first: usize, last: usize) -> Vec<usize> {
    std::iter::successors(Some(first), |size| Some(2 * size))
        .take_while(|&size| size <= last)
        .collect()
}
