use burn::nn::{Dropout, DropoutConfig, Embedding, Initializer, Linear};
use burn::tensor::Device;
use latent_text_nn::PositionBuckets;

use super::attention::T5Attention;
use super::layers::{
    AttentionLayer, DecoderBlock, EncoderBlock, FeedForward, FeedForwardLayer, RmsNorm,
};
use super::position_bias::RelativePositionBias;
use super::{T5, T5Decoder, T5Encoder};
use crate::T5Config;
use crate::generation::TextEnds;

impl T5Config {
    /// A model with fresh weights: normal, with the deviations of T5's own training code.
    ///
    /// # Panics
    /// If [`validate`](Self::validate) finds a fault in the configuration.
    pub fn init(&self, device: &Device) -> T5 {
        self.init_with_head(!self.tie_word_embeddings, device)
    }

    /// `own_head` tells whether the output layer has weights of its own.
    pub(super) fn init_with_head(&self, own_head: bool, device: &Device) -> T5 {
        if let Err(invalid) = self.validate() {
            panic!("{invalid}");
        }
        let encoder = T5Encoder {
            relative_attention_bias: self.position_bias(true, device),
            block: (0..self.num_layers).map(|_| self.encoder_block(device)).collect(),
            final_layer_norm: self.norm(device),
            dropout: self.dropout(),
        };
        let decoder = T5Decoder {
            relative_attention_bias: self.position_bias(false, device),
            block: (0..self.decoder_layers()).map(|_| self.decoder_block(device)).collect(),
            final_layer_norm: self.norm(device),
            dropout: self.dropout(),
        };
        let shared = self.normal(1.0).init([self.vocab_size, self.d_model], device);
        T5 {
            shared: Embedding { weight: shared },
            encoder,
            decoder,
            lm_head: own_head.then(|| self.linear(self.d_model, self.vocab_size, 1.0, device)),
            logit_scale: self.logit_scale(),
            text_ends: TextEnds {
                start: self.decoder_start_token_id,
                eos: self.eos_token_id.iter().collect(),
                forced_bos: self.forced_bos_token_id,
                forced_eos: self.forced_eos_token_id,
            },
            gated: self.feed_forward_proj.is_gated(),
        }
    }

    fn encoder_block(&self, device: &Device) -> EncoderBlock {
        EncoderBlock {
            self_attention: self.attention_layer(device),
            feed_forward: self.feed_forward_layer(device),
        }
    }

    fn decoder_block(&self, device: &Device) -> DecoderBlock {
        DecoderBlock {
            self_attention: self.attention_layer(device),
            cross_attention: self.attention_layer(device),
            feed_forward: self.feed_forward_layer(device),
        }
    }

    fn attention_layer(&self, device: &Device) -> AttentionLayer {
        let (outer, inner) = (self.d_model, self.num_heads * self.d_kv);
        let attention = T5Attention {
            q: self.linear(outer, inner, deviation(outer * self.d_kv), device),
            k: self.linear(outer, inner, deviation(outer), device),
            v: self.linear(outer, inner, deviation(outer), device),
            o: self.linear(inner, outer, deviation(inner), device),
            dropout: self.dropout(),
            heads: self.num_heads,
        };
        AttentionLayer { attention, layer_norm: self.norm(device), dropout: self.dropout() }
    }

    fn feed_forward_layer(&self, device: &Device) -> FeedForwardLayer {
        let inward = || self.linear(self.d_model, self.d_ff, deviation(self.d_model), device);
        let dense = FeedForward {
            wi: inward(),
            wi_1: self.feed_forward_proj.is_gated().then(inward),
            wo: self.linear(self.d_ff, self.d_model, deviation(self.d_ff), device),
            dropout: self.dropout(),
            activation: self.feed_forward_proj.activation(),
        };
        FeedForwardLayer { dense, layer_norm: self.norm(device), dropout: self.dropout() }
    }

    fn position_bias(&self, bidirectional: bool, device: &Device) -> RelativePositionBias {
        let count = self.relative_attention_num_buckets;
        let weight = self.normal(deviation(self.d_model)).init([count, self.num_heads], device);
        let max_distance = self.relative_attention_max_distance;
        RelativePositionBias {
            weight,
            buckets: PositionBuckets { count, max_distance, bidirectional },
        }
    }

    fn linear(&self, d_input: usize, d_output: usize, deviation: f64, device: &Device) -> Linear {
        Linear { weight: self.normal(deviation).init([d_input, d_output], device), bias: None }
    }

    fn norm(&self, device: &Device) -> RmsNorm {
        let gain = Initializer::Constant { value: self.initializer_factor };
        RmsNorm { weight: gain.init([self.d_model], device), epsilon: self.layer_norm_epsilon }
    }

    fn dropout(&self) -> Dropout {
        DropoutConfig::new(self.dropout_rate).init()
    }

    fn normal(&self, deviation: f64) -> Initializer {
        Initializer::Normal { mean: 0.0, std: self.initializer_factor * deviation }
    }
}

/// Keeps the variance of a sum of so many products.
fn deviation(terms: usize) -> f64 {
    (terms as f64).powf(-0.5)
}
