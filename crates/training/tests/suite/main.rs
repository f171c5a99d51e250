//! Tests of the training crate against PyTorch, transformers, ema-pytorch and closed forms.

mod batches;
mod checkpoints;
mod common;
mod config;
mod latents;
mod optimisation;
mod pipeline;
mod sources;
mod trainer;
