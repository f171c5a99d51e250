#![doc = include_str!("../README.md")]

mod class_labels;
mod coverage;
mod dropping;
mod error;
mod length_predictor;
mod lengths;
mod mbr;
mod similarity;
mod source_reader;
mod tokenizer_13a;

pub use class_labels::ClassLabels;
pub use coverage::coverage;
pub use dropping::{kept_per_sample, present};
pub use error::{ConditioningError, InvalidLabels, UnknownLabel};
pub use length_predictor::{LengthPredictor, LengthPredictorConfig};
pub use lengths::{LengthDistribution, length_mask};
pub use mbr::{best_of, minimum_bayes_risk};
pub use similarity::Similarity;
pub use source_reader::SourceReader;
