#![doc = include_str!("../README.md")]

mod bart;
mod config;
mod error;
mod files;
mod generation;
mod language_model;
mod loss;
mod t5;
mod tokenizer;

pub use bart::Bart;
pub use config::{Activation, BartConfig, InvalidConfig};
pub use error::LanguageModelError;
pub use generation::{Decoding, GenerationConfig, nucleus_distributions};
pub use language_model::LanguageModel;
pub use loss::{cross_entropy, shift_right};
pub use t5::{T5, T5Config, T5Family, T5FeedForward};
pub use tokenizer::{SpecialTokens, TextTokenizer, TokenBatch};
