//! Carries the examples, benches and end-to-end tests of the latent-text crates; it has no code of its own.
