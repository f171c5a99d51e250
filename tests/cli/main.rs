//! The example programs from the outside: what they print, what they refuse and how, and that they
//! leave existing files alone.

#![recursion_limit = "256"]

mod compare_runs;
mod convert_reference;
mod data_to_text;
mod documents;
mod generate;
mod language_model;
mod reconstruct;
mod samplers;
mod shipped;
mod support;
mod train;
