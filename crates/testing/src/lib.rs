//! What tests of several latent-text crates share. It panics where a test is to fail.
//!
//! Unit tests of `latent-text-nn` and `latent-text-language-model` can't use it: it is built on these
//! crates as they are without their unit tests.

mod device_turn;
mod finite_differences;
mod language_models;
mod parameters;
mod recorded;
mod tensors;

pub use device_turn::device_turn;
pub use finite_differences::{Along, FiniteDifferences};
pub use language_models::{language_model, tiny_bart};
pub use parameters::{filled, slopes};
pub use recorded::{Recorded, fixture};
pub use tensors::{distance, noise, values, without_padding};
