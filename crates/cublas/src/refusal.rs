use std::collections::BTreeSet;
use std::ffi::c_int;
use std::sync::Mutex;

use cubecl::server::ServerError;
use cubecl_environment::backtrace::BackTrace;
use thiserror::Error;

/// Why a product isn't cuBLASLt's.
#[derive(Debug, Error)]
pub(crate) enum Refusal {
    /// None of its versions is there and works with the driver.
    #[error("{0}")]
    NoLibrary(String),
    /// It has none for this form of a product.
    #[error("it has no algorithm for {0}")]
    NoAlgorithm(String),
    #[error("{function} answered {status}")]
    Failed { function: &'static str, status: c_int },
    #[error("the device can't be asked ({0})")]
    Device(String),
}

impl Refusal {
    /// Whether it would be the same the next time.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::NoLibrary(_) | Self::NoAlgorithm(_))
    }

    /// Tells the user, unless it has told one of this kind before.
    pub(crate) fn say_once(&self) {
        static SAID: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

        let mut said = SAID.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if said.insert(self.kind()) {
            eprintln!("cuBLASLt can't be used: {self}; {}", self.consequence());
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::NoLibrary(_) => "library",
            Self::NoAlgorithm(_) => "algorithm",
            Self::Failed { function, .. } => function,
            Self::Device(_) => "device",
        }
    }

    fn consequence(&self) -> &'static str {
        match self {
            Self::NoLibrary(_) => "matrix products are Burn's own, several times slower",
            _ => "such a matrix product is Burn's own, several times slower",
        }
    }
}

impl From<ServerError> for Refusal {
    fn from(error: ServerError) -> Self {
        Self::Device(error.to_string())
    }
}

impl From<Refusal> for ServerError {
    fn from(refusal: Refusal) -> Self {
        Self::Generic { reason: refusal.to_string(), backtrace: BackTrace::capture() }
    }
}
