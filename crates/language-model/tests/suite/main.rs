//! Networks, decoding, tokenizers and files against outputs of `transformers`, closed forms, finite
//! differences and damage. One program, so that other backends need to be linked once.

mod common;
mod config;
mod config_damage;
mod decoding;
mod folder;
mod generation;
mod generation_folder;
mod gradients;
mod losses;
mod mbart;
mod parity;
mod t5;
mod tokenizer;
mod tokenizer_damage;
mod tokenizer_families;
mod weights;
