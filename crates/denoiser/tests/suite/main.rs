//! Tests against golden files of LD4LG's published code, against its formulas written down in PyTorch,
//! and against finite differences.

mod config;
mod diffusion;
mod formulas;
mod golden;
mod gradients;
mod initial_values;
mod network;
mod support;
