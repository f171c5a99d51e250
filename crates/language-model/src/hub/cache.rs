//! The cache that the programs of Hugging Face share. A model there has `refs/<revision>`, which holds
//! a commit; `snapshots/<commit>/`, a folder with the commit's files; and `.no_exist/<commit>/`, an
//! empty file for each that the commit is known not to have.

use std::fs;
use std::path::{Path, PathBuf};

use hf_hub::{Cache, CacheRepo, Repo, RepoType};

use super::HubError;
use super::selection::{known_files, select};
use super::shards::shards;

const COMMIT_DIGITS: usize = 40;

/// The states of one model in a cache.
pub(super) struct Snapshots {
    cache: PathBuf,
    pub name: String,
    pub revision: String,
}

impl Snapshots {
    pub(super) fn new(cache: &Path, name: &str, revision: &str) -> Result<Self, HubError> {
        if !is_model_name(name) {
            return Err(HubError::Name { name: name.to_string() });
        }
        if !is_revision(revision) {
            return Err(HubError::Revision { revision: revision.to_string() });
        }
        Ok(Self {
            cache: cache.to_path_buf(),
            name: name.to_string(),
            revision: revision.to_string(),
        })
    }

    /// The model and its revision for messages.
    pub(super) fn model(&self) -> String {
        format!("{} at {}", self.name, self.revision)
    }

    /// The folder of the revision, if the cache is known to have all files of it that a model is
    /// loaded from.
    pub(super) fn whole(&self) -> Option<PathBuf> {
        let commit = self.commit()?;
        let folder = self.folder(&commit);
        let selection = select(&|file| self.has(&commit, file)).ok()?;
        let shards = match selection.index {
            Some(index) => shards(&folder.join(index)).ok()?,
            None => Default::default(),
        };
        shards.iter().all(|shard| folder.join(shard).is_file()).then_some(folder)
    }

    /// The folder of a commit's files.
    pub(super) fn folder(&self, commit: &str) -> PathBuf {
        self.of_revision().pointer_path(commit)
    }

    /// Where a file of which the hub knows the hash lies before it is whole.
    pub(super) fn part(&self, hash: &str) -> PathBuf {
        self.of_revision().blob_path(hash).with_extension("part")
    }

    /// Notes that the revision is `commit`, of which the cache has everything but `absent`.
    pub(super) fn complete(
        &self,
        commit: &str,
        has: &dyn Fn(&str) -> bool,
    ) -> Result<(), HubError> {
        let marks = self.marks(commit);
        let failed = |source| HubError::Cache { path: marks.clone(), source };
        fs::create_dir_all(&marks).map_err(failed)?;
        for file in known_files().filter(|file| !has(file)) {
            fs::write(marks.join(file), []).map_err(failed)?;
        }
        self.of_revision().create_ref(commit).map_err(failed)
    }

    /// The commit that the revision was last seen at.
    fn commit(&self) -> Option<String> {
        if is_commit(&self.revision) {
            return Some(self.revision.clone());
        }
        let commit = fs::read_to_string(self.root().join("refs").join(&self.revision)).ok()?;
        Some(commit.trim().to_string()).filter(|commit| is_commit(commit))
    }

    fn has(&self, commit: &str, file: &str) -> Option<bool> {
        if self.folder(commit).join(file).is_file() {
            return Some(true);
        }
        self.marks(commit).join(file).is_file().then_some(false)
    }

    fn marks(&self, commit: &str) -> PathBuf {
        self.root().join(".no_exist").join(commit)
    }

    fn root(&self) -> PathBuf {
        self.cache.join(self.repo(&self.revision).folder_name())
    }

    fn of_revision(&self) -> CacheRepo {
        Cache::new(self.cache.clone()).repo(self.repo(&self.revision))
    }

    pub(super) fn repo(&self, revision: &str) -> Repo {
        Repo::with_revision(self.name.clone(), RepoType::Model, revision.to_string())
    }
}

/// `model` or `owner/model`; such names are safe in paths and addresses.
fn is_model_name(name: &str) -> bool {
    name.split('/').count() <= 2 && name.split('/').all(is_plain)
}

/// As git allows them, less what would not be safe in paths and addresses.
fn is_revision(revision: &str) -> bool {
    revision.split('/').all(is_plain)
}

fn is_plain(part: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ['-', '_', '.'].contains(&c);
    !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed)
}

pub(super) fn is_commit(text: &str) -> bool {
    text.len() == COMMIT_DIGITS && text.chars().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{HubError, Snapshots};

    #[test]
    fn names_that_would_leave_the_cache_are_refused() {
        let new = |name, revision| Snapshots::new(Path::new("cache"), name, revision);
        for name in ["bart-base", "facebook/bart-base", "a_b/C.d-1"] {
            assert!(new(name, "main").is_ok(), "{name}");
        }
        for name in
            ["", "/", "a/", "/a", "..", "../a", "a/..", "a/b/c", "a b", "a\\b", "a?b", "a:b"]
        {
            assert!(matches!(new(name, "main"), Err(HubError::Name { .. })), "{name}");
        }
        for revision in ["main", "v1.0", "refs/pr/1"] {
            assert!(new("a/b", revision).is_ok(), "{revision}");
        }
        for revision in ["", "/main", "../main", "a/../b", "a b", "a#b", "a%2Fb"] {
            assert!(matches!(new("a/b", revision), Err(HubError::Revision { .. })), "{revision}");
        }
    }
}
