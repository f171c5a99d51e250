//! A model on the hub.

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::Cache;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use serde::Deserialize;

use super::HubError;
use super::cache::{Snapshots, is_commit};
use super::place::Place;
use super::selection::{Unselectable, select};
use super::shards::shards;

/// How long the hub may take to list the files of a model.
const PATIENCE: Duration = Duration::from_secs(60);
const ERROR_CODE: &str = "x-error-code";

pub(super) struct Remote<'a> {
    api: Api,
    endpoint: &'a str,
    snapshots: &'a Snapshots,
}

/// What the hub tells about a revision.
#[derive(Deserialize)]
pub(super) struct Listing {
    /// Its commit.
    sha: String,
    siblings: Vec<Listed>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<LargeFile>,
}

#[derive(Deserialize)]
struct LargeFile {
    sha256: String,
}

impl Listed {
    /// What the cache names the file's content by.
    fn hash(&self) -> Option<&str> {
        let hash = self.lfs.as_ref().map(|lfs| lfs.sha256.as_str()).or(self.blob_id.as_deref());
        hash.filter(|hash| hash.chars().all(|c| c.is_ascii_hexdigit()))
    }
}

impl Listing {
    fn file(&self, name: &str) -> Option<&Listed> {
        self.siblings.iter().find(|file| file.rfilename == name)
    }
}

impl<'a> Remote<'a> {
    pub(super) fn new(
        place: &'a Place,
        snapshots: &'a Snapshots,
        progress: bool,
    ) -> Result<Self, HubError> {
        let api = ApiBuilder::from_cache(Cache::new(place.cache.clone()))
            .with_endpoint(place.endpoint.clone())
            .with_token(place.token.clone())
            .with_progress(progress)
            .build()
            .map_err(|source| unreachable(&place.endpoint, source))?;
        Ok(Self { api, endpoint: &place.endpoint, snapshots })
    }

    pub(super) fn listing(&self) -> Result<Listing, HubError> {
        let repo = self.snapshots.repo(&self.snapshots.revision);
        let mut response = self
            .api
            .repo(repo)
            .info_request()
            .query("blobs", "true")
            .config()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .build()
            .call()
            .map_err(|source| unreachable(self.endpoint, source))?;
        let status = response.status().as_u16();
        if status != 200 {
            let code = response.headers().get(ERROR_CODE).and_then(|code| code.to_str().ok());
            return Err(self.refusal(status, code));
        }
        let text = response
            .body_mut()
            .read_to_string()
            .map_err(|source| unreachable(self.endpoint, source))?;
        let listing: Listing =
            serde_json::from_str(&text).map_err(|source| self.odd_answer(source.into()))?;
        if is_commit(&listing.sha) {
            Ok(listing)
        } else {
            Err(self.odd_answer(format!("`{}` is no commit", listing.sha).into()))
        }
    }

    /// Brings the files that a model is loaded from into the cache; returns their folder.
    pub(super) fn fetch(&self, listing: &Listing) -> Result<PathBuf, HubError> {
        let has = |file: &str| listing.file(file).is_some();
        let selection = select(&|file| Some(has(file))).map_err(|problem| match problem {
            Unselectable::Lacks(what) => self.lacking(what),
            Unselectable::Unknown => self.lacking("list of files"),
        })?;
        let folder = self.snapshots.folder(&listing.sha);
        // All from the same commit, even if the branch moves meanwhile.
        let repo = self.api.repo(self.snapshots.repo(&listing.sha));
        for file in &selection.files {
            self.fetch_file(&repo, listing, file, &folder)?;
        }
        if let Some(index) = selection.index {
            for shard in shards(&folder.join(index))? {
                self.fetch_file(&repo, listing, &shard, &folder)?;
            }
        }
        self.snapshots.complete(&listing.sha, &has)?;
        Ok(folder)
    }

    fn fetch_file(
        &self,
        repo: &ApiRepo,
        listing: &Listing,
        file: &str,
        folder: &Path,
    ) -> Result<(), HubError> {
        let path = folder.join(file);
        if path.is_file() {
            return Ok(());
        }
        let listed = listing.file(file).ok_or_else(|| self.lacking(file))?;
        remove(&path)?; // a link to a content that is gone
        self.drop_useless_part(listed)?;
        let downloaded = repo.download(file).map_err(|source| self.broken(file, source))?;
        let found = fs::metadata(&downloaded)
            .map_err(|source| HubError::Cache { path: downloaded.clone(), source })?
            .len();
        match listed.size.filter(|&expected| expected != found) {
            None => Ok(()),
            Some(expected) => {
                if let Ok(content) = fs::canonicalize(&downloaded) {
                    remove(&content)?;
                }
                remove(&downloaded)?;
                let (model, file) = (self.snapshots.model(), file.to_string());
                Err(HubError::Size { model, file, expected, found })
            }
        }
    }

    /// Removes what an earlier download has left of a file if it can't go on from there.
    fn drop_useless_part(&self, listed: &Listed) -> Result<(), HubError> {
        let (Some(size), Some(hash)) = (listed.size, listed.hash()) else { return Ok(()) };
        let part = self.snapshots.part(hash);
        match fs::metadata(&part) {
            Ok(left) if left.len() >= size => remove(&part),
            _ => Ok(()),
        }
    }

    fn refusal(&self, status: u16, code: Option<&str>) -> HubError {
        let (model, endpoint) = (self.snapshots.model(), self.endpoint.to_string());
        match (status, code) {
            (_, Some("RevisionNotFound")) => HubError::UnknownRevision { model, endpoint },
            (401 | 403, _) | (_, Some("GatedRepo")) => HubError::NoAccess { model, endpoint },
            (404, _) => HubError::UnknownModel { model, endpoint },
            _ => HubError::Status { model, endpoint, status },
        }
    }

    fn broken(&self, file: &str, error: ApiError) -> HubError {
        if let ApiError::RequestError(request) = &error
            && let ureq::Error::StatusCode(status @ (401 | 403)) = request.as_ref()
        {
            return self.refusal(*status, None);
        }
        let (model, file) = (self.snapshots.model(), file.to_string());
        HubError::Download { model, file, source: error.into() }
    }

    fn lacking(&self, what: &str) -> HubError {
        HubError::Lacking { model: self.snapshots.model(), lacking: what.to_string() }
    }

    fn odd_answer(&self, source: Box<dyn Error + Send + Sync>) -> HubError {
        HubError::Answer { endpoint: self.endpoint.to_string(), source }
    }
}

fn unreachable(endpoint: &str, source: impl Into<Box<dyn Error + Send + Sync>>) -> HubError {
    HubError::Unreachable { endpoint: endpoint.to_string(), source: source.into() }
}

/// Removes a file that need not exist.
fn remove(path: &Path) -> Result<(), HubError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(HubError::Cache { path: path.to_path_buf(), source })
        }
        _ => Ok(()),
    }
}
