use std::fmt;
use std::path::PathBuf;

/// How [`download`](super::download) gets a model.
#[derive(Clone)]
pub struct HubOptions {
    /// Branch, tag or commit. Default `main`.
    pub revision: String,
    /// The cache. Default none: the folder in `HF_HUB_CACHE`, else `hub` in that in `HF_HOME`, else
    /// `.cache/huggingface/hub` in the user's home.
    pub cache: Option<PathBuf>,
    /// Address of the hub. Default none: that in `HF_ENDPOINT`, else `https://huggingface.co`.
    pub endpoint: Option<String>,
    /// The user's token, for models that are not open to all. Default none: that in `HF_TOKEN`, else
    /// the content of the file in `HF_TOKEN_PATH`, else of `token` in `HF_HOME`.
    pub token: Option<String>,
    /// Whether the cache alone counts. Default none: if `HF_HUB_OFFLINE` is `1`, `true`, `yes` or `on`.
    pub offline: Option<bool>,
    /// Whether the hub is asked if `revision` has moved where the cache has an older state of it whole.
    /// Default false.
    pub update: bool,
    /// Whether a progress bar is shown for each file, on stderr if that is a terminal. Default true.
    pub progress: bool,
}

impl Default for HubOptions {
    fn default() -> Self {
        Self {
            revision: "main".to_string(),
            cache: None,
            endpoint: None,
            token: None,
            offline: None,
            update: false,
            progress: true,
        }
    }
}

/// Keeps the token to itself.
impl fmt::Debug for HubOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("HubOptions")
            .field("revision", &self.revision)
            .field("cache", &self.cache)
            .field("endpoint", &self.endpoint)
            .field("token", &self.token.as_ref().map(|_| "***"))
            .field("offline", &self.offline)
            .field("update", &self.update)
            .field("progress", &self.progress)
            .finish()
    }
}
