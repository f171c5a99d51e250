use burn::nn::{DropoutConfig, Embedding, Initializer, LayerNorm, LayerNormConfig, Linear};
use burn::tensor::Device;

use super::attention::BartAttention;
use super::layers::{DecoderLayer, EncoderLayer, Norms};
use super::{Bart, BartConfig, BartDecoder, BartEncoder, BartFamily, BartModel, POSITION_OFFSET};
use crate::generation::TextEnds;

impl BartConfig {
    /// A model with fresh weights: normal of deviation `init_std`, biases zero.
    ///
    /// # Panics
    /// If [`validate`](Self::validate) finds a fault in the configuration.
    pub fn init(&self, device: &Device) -> Bart {
        if let Err(invalid) = self.validate() {
            panic!("{invalid}");
        }
        let embed_scale = if self.scale_embedding { (self.d_model as f64).sqrt() } else { 1.0 };
        let model = BartModel {
            shared: self.embedding(self.vocab_size, device),
            encoder: BartEncoder {
                embed_positions: self.positions(device),
                layers: (0..self.encoder_layers).map(|_| self.encoder_layer(device)).collect(),
                layernorm_embedding: self.norm(device),
                layer_norm: self.last_norm(device),
                dropout: DropoutConfig::new(self.dropout).init(),
            },
            decoder: BartDecoder {
                embed_positions: self.positions(device),
                layers: (0..self.decoder_layers).map(|_| self.decoder_layer(device)).collect(),
                layernorm_embedding: self.norm(device),
                layer_norm: self.last_norm(device),
                dropout: DropoutConfig::new(self.dropout).init(),
            },
            embed_scale,
        };
        let text_ends = TextEnds {
            start: self.decoder_start_token_id,
            eos: self.eos_token_id.iter().collect(),
            forced_bos: self.forced_bos_token_id,
            forced_eos: self.forced_eos_token_id,
        };
        Bart { model, final_logits_bias: None, text_ends }
    }

    fn encoder_layer(&self, device: &Device) -> EncoderLayer {
        EncoderLayer {
            self_attn: self.attention(self.encoder_attention_heads, device),
            self_attn_layer_norm: self.norm(device),
            fc1: self.linear(self.d_model, self.encoder_ffn_dim, device),
            fc2: self.linear(self.encoder_ffn_dim, self.d_model, device),
            final_layer_norm: self.norm(device),
            dropout: DropoutConfig::new(self.dropout).init(),
            activation_dropout: DropoutConfig::new(self.activation_dropout).init(),
            activation: self.activation_function,
            norms: self.norms(),
        }
    }

    fn decoder_layer(&self, device: &Device) -> DecoderLayer {
        DecoderLayer {
            self_attn: self.attention(self.decoder_attention_heads, device),
            self_attn_layer_norm: self.norm(device),
            encoder_attn: self.attention(self.decoder_attention_heads, device),
            encoder_attn_layer_norm: self.norm(device),
            fc1: self.linear(self.d_model, self.decoder_ffn_dim, device),
            fc2: self.linear(self.decoder_ffn_dim, self.d_model, device),
            final_layer_norm: self.norm(device),
            dropout: DropoutConfig::new(self.dropout).init(),
            activation_dropout: DropoutConfig::new(self.activation_dropout).init(),
            activation: self.activation_function,
            norms: self.norms(),
        }
    }

    fn attention(&self, heads: usize, device: &Device) -> BartAttention {
        let projection = || self.linear(self.d_model, self.d_model, device);
        BartAttention {
            k_proj: projection(),
            v_proj: projection(),
            q_proj: projection(),
            out_proj: projection(),
            dropout: DropoutConfig::new(self.attention_dropout).init(),
            heads,
        }
    }

    fn linear(&self, d_input: usize, d_output: usize, device: &Device) -> Linear {
        Linear {
            weight: self.normal().init([d_input, d_output], device),
            bias: Some(Initializer::Zeros.init([d_output], device)),
        }
    }

    fn positions(&self, device: &Device) -> Embedding {
        self.embedding(self.max_position_embeddings + POSITION_OFFSET, device)
    }

    fn embedding(&self, rows: usize, device: &Device) -> Embedding {
        Embedding { weight: self.normal().init([rows, self.d_model], device) }
    }

    fn norm(&self, device: &Device) -> LayerNorm {
        LayerNormConfig::new(self.d_model).init(device)
    }

    fn norms(&self) -> Norms {
        match self.model_type {
            BartFamily::Bart => Norms::BehindSums,
            BartFamily::Mbart => Norms::InFrontOfBranches,
        }
    }

    fn last_norm(&self, device: &Device) -> Option<LayerNorm> {
        (self.model_type == BartFamily::Mbart).then(|| self.norm(device))
    }

    fn normal(&self) -> Initializer {
        Initializer::Normal { mean: 0.0, std: self.init_std }
    }
}
