use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::ReferenceError;

const FILE: &str = "args.json";

/// The command line that a run was started with, as its `args.json` has it.
pub(crate) struct Arguments {
    path: PathBuf,
    entries: Map<String, Value>,
}

impl Arguments {
    /// Reads those of a run folder.
    pub(crate) fn read(run: &Path) -> Result<Self, ReferenceError> {
        let path = run.join(FILE);
        let text = fs::read_to_string(&path)
            .map_err(|source| ReferenceError::Read { path: path.clone(), source })?;
        let entries = serde_json::from_str(&text)
            .map_err(|source| ReferenceError::Json { path: path.clone(), source })?;
        Ok(Self { path, entries })
    }

    /// The value of an argument; none if it is null or not there.
    pub(crate) fn given<T: DeserializeOwned>(
        &self,
        argument: &'static str,
    ) -> Result<Option<T>, ReferenceError> {
        match self.entries.get(argument) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value.clone())
                .map(Some)
                .map_err(|error| self.refused(argument, value, error.to_string())),
        }
    }

    /// The value of an argument that says `meaning`.
    pub(crate) fn needed<T: DeserializeOwned>(
        &self,
        argument: &'static str,
        meaning: &'static str,
    ) -> Result<T, ReferenceError> {
        self.given(argument)?.ok_or_else(|| ReferenceError::NoArgument {
            path: self.path.clone(),
            argument,
            meaning,
        })
    }

    /// Checks that an argument, if it is there, agrees with the tensors of the checkpoint.
    pub(crate) fn check_size(
        &self,
        argument: &'static str,
        found: usize,
    ) -> Result<(), ReferenceError> {
        match self.given::<usize>(argument)? {
            Some(size) if size != found => {
                let problem =
                    format!("the checkpoint beside it has {found}: they belong together?");
                Err(self.refused(argument, size, problem))
            }
            _ => Ok(()),
        }
    }

    /// Checks that an argument, if it is there, is set.
    pub(crate) fn check_set(
        &self,
        argument: &'static str,
        problem: &str,
    ) -> Result<(), ReferenceError> {
        match self.given::<bool>(argument)? {
            Some(false) => Err(self.refused(argument, false, problem)),
            _ => Ok(()),
        }
    }

    /// The error that this value can't be used.
    pub(crate) fn refused(
        &self,
        argument: &'static str,
        value: impl Display,
        problem: impl Into<String>,
    ) -> ReferenceError {
        let (path, value) = (self.path.clone(), value.to_string());
        ReferenceError::Argument { path, argument, value, problem: problem.into() }
    }
}
