use std::error::Error;
use std::path::PathBuf;

/// Why a model can't be had from the hub. A model is told of as `name at revision`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The name can't be that of a model.
    #[error(
        "`{name}` is no name of a model; names look like `facebook/bart-base` (for a folder, give a path \
         that exists)"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// The revision can't be that of a model.
    #[error("`{revision}` is no revision; give a branch, a tag or a commit, as `main`")]
    Revision {
        /// The revision.
        revision: String,
    },
    /// Nothing tells where the cache is.
    #[error("there is no home folder for the cache; set HF_HOME to a folder")]
    NoCache,
    /// The hub may not be asked, and the cache lacks files of the model.
    #[error(
        "{cache} does not have {model} with all its files, and the hub may not be asked; unset \
         HF_HUB_OFFLINE, or download it where there is a network and copy its folder"
    )]
    NotCached {
        /// The model.
        model: String,
        /// The cache.
        cache: PathBuf,
    },
    /// There is no model of this name.
    #[error("{endpoint} has no model {model}; check its name")]
    UnknownModel {
        /// The model.
        model: String,
        /// Address of the hub.
        endpoint: String,
    },
    /// The model has no such revision.
    #[error("{endpoint} has no {model}; the model is there, but not this branch, tag or commit")]
    UnknownRevision {
        /// The model.
        model: String,
        /// Address of the hub.
        endpoint: String,
    },
    /// The model is not open to the caller; a hub says so of models that don't exist, too.
    #[error(
        "{endpoint} does not give {model} to you; check its name; if it is right, accept the model's \
         terms on its page, and set HF_TOKEN to a token of yours that may read it"
    )]
    NoAccess {
        /// The model.
        model: String,
        /// Address of the hub.
        endpoint: String,
    },
    /// The hub answers with another failure.
    #[error("{endpoint} answered with status {status} when asked for {model}; try again later")]
    Status {
        /// The model.
        model: String,
        /// Address of the hub.
        endpoint: String,
        /// The status of HTTP.
        status: u16,
    },
    /// The hub can't be reached.
    #[error(
        "cannot reach {endpoint}; check the network (HF_ENDPOINT names another hub, HTTPS_PROXY a proxy), \
         or give the folder of a model instead of its name"
    )]
    Unreachable {
        /// Address of the hub.
        endpoint: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// What answers is no hub.
    #[error("{endpoint} does not answer as a Hugging Face hub does; check HF_ENDPOINT")]
    Answer {
        /// Address of the hub.
        endpoint: String,
        /// What is wrong.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The repository has no files of a kind that this crate reads.
    #[error("{model} has no {lacking}; it can't be loaded from there")]
    Lacking {
        /// The model.
        model: String,
        /// The file or files that it would need.
        lacking: String,
    },
    /// The index of a sharded model can't be used.
    #[error("{path} is no index of weights")]
    Index {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A file can't be downloaded.
    #[error("cannot download {file} of {model}; try again, it goes on where it stopped")]
    Download {
        /// The model.
        model: String,
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A downloaded file does not have the size that it has on the hub. It has been removed.
    #[error("{file} of {model} came with {found} bytes in place of {expected}; try again")]
    Size {
        /// The model.
        model: String,
        /// The file.
        file: String,
        /// Its size on the hub.
        expected: u64,
        /// Its size here.
        found: u64,
    },
    /// A file of the cache can't be read or written.
    #[error("the cache can't be used: {path}")]
    Cache {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}
