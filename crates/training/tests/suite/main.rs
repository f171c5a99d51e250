//! Tests of the training crate against PyTorch, transformers, ema-pytorch and closed forms.

mod autoencoder;
mod batches;
mod checkpoints;
mod common;
mod config;
mod encoder_states;
mod latents;
mod optimisation;
mod pipeline;
mod sources;
mod trainer;
mod unlabelled;
