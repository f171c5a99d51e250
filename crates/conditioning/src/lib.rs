#![doc = include_str!("../README.md")]

mod class_labels;
mod error;

pub use class_labels::ClassLabels;
pub use error::{InvalidLabels, UnknownLabel};
