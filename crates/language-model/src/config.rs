//! What the configurations of all networks have in common.

mod activation;
mod checks;
mod folder;
mod token_ids;

pub use self::activation::Activation;
pub(crate) use self::checks::{
    MAX_LAYERS, MAX_SIZE, check_dropout, check_not_negative, check_sizes,
};
pub(crate) use self::folder::{
    CONFIG_FILE, Entries, FolderConfig, GENERATION_FILE, model_type, read, write,
};
pub use self::token_ids::EosTokenIds;
pub(crate) use self::token_ids::TokenIds;

/// An entry of a configuration that no model can have, alone or beside the others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{entry}` is {value}, but it must {requirement}")]
pub struct InvalidConfig {
    /// Name of the entry.
    pub entry: &'static str,
    /// Its value.
    pub value: String,
    /// What it must be instead.
    pub requirement: String,
}

impl InvalidConfig {
    pub(crate) fn new(
        entry: &'static str,
        value: impl ToString,
        requirement: impl ToString,
    ) -> Self {
        Self { entry, value: value.to_string(), requirement: requirement.to_string() }
    }
}
