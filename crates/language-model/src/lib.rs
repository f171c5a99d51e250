#![doc = include_str!("../README.md")]

mod bart;
mod cached;
mod checkpoint;
mod config;
mod encoder_decoder;
mod error;
mod files;
mod generation;
#[cfg(feature = "hub")]
pub mod hub;
mod language_model;
mod loss;
mod stream;
mod t5;
mod tokenizer;

pub use bart::{Bart, BartConfig, BartFamily};
pub use config::{Activation, EosTokenIds, InvalidConfig};
pub use encoder_decoder::{EncoderDecoder, EncoderDecoderConfig};
pub use error::LanguageModelError;
pub use generation::{
    BeamSearch, Decoding, EarlyStopping, ForcedToken, GeneratedText, GenerationConfig, NewToken,
    Sampling, next_token_distributions,
};
pub use language_model::{LanguageModel, WrittenText};
pub use loss::{cross_entropy, shift_language_first, shift_right};
pub use stream::NewText;
pub use t5::{T5, T5Config, T5Family, T5FeedForward};
pub use tokenizer::{SpecialTokens, TextTokenizer, TokenBatch};
