use burn::tensor::Device;
use latent_text_language_model::{BartConfig, LanguageModel, TextTokenizer};

/// A BART of one layer on each side, as wide as `d_model`, for texts of up to `max_tokens` tokens.
pub fn tiny_bart(d_model: usize, max_tokens: usize) -> BartConfig {
    BartConfig {
        max_position_embeddings: max_tokens,
        d_model,
        encoder_layers: 1,
        encoder_ffn_dim: 2 * d_model,
        encoder_attention_heads: 2,
        decoder_layers: 1,
        decoder_ffn_dim: 2 * d_model,
        decoder_attention_heads: 2,
        ..BartConfig::default()
    }
}

/// A language model with fresh weights over a byte-level BPE of `texts`, which has at most `vocab_size`
/// tokens. The configuration's own `vocab_size` does not count.
pub fn language_model<I, S>(
    texts: I,
    vocab_size: usize,
    config: BartConfig,
    device: &Device,
) -> LanguageModel
where
    I: IntoIterator<Item = S>,
    I::IntoIter: Send,
    S: AsRef<str> + Send,
{
    let tokenizer = TextTokenizer::train_byte_level_bpe(texts, vocab_size).expect("a tokenizer");
    let config = BartConfig { vocab_size: tokenizer.vocab_size(), ..config };
    LanguageModel::new(config, tokenizer, device).expect("a language model")
}
