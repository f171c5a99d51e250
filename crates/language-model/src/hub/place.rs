//! Which hub and which cache: after the options, the environment, then the defaults of Hugging Face.

use std::fs;
use std::path::{Path, PathBuf};

use super::{HubError, HubOptions};

const ENDPOINT: &str = "https://huggingface.co";

pub(super) struct Place {
    pub cache: PathBuf,
    pub endpoint: String,
    pub token: Option<String>,
    pub offline: bool,
}

impl Place {
    /// `variable` looks up the environment.
    pub(super) fn of(
        options: &HubOptions,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, HubError> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let home = home(&set);
        let cache = options.cache.clone().or_else(|| set("HF_HUB_CACHE").map(PathBuf::from));
        let cache = cache.or_else(|| home.as_deref().map(|home| home.join("hub")));
        let endpoint = options.endpoint.clone().or_else(|| set("HF_ENDPOINT"));
        let endpoint = endpoint.unwrap_or_else(|| ENDPOINT.to_string());
        let offline = || set("HF_HUB_OFFLINE").is_some_and(|value| is_yes(&value));
        Ok(Self {
            cache: cache.ok_or(HubError::NoCache)?,
            endpoint: endpoint.trim_end_matches('/').to_string(),
            token: token(options, &set, home.as_deref()),
            offline: options.offline.unwrap_or_else(offline),
        })
    }
}

/// The folder of everything that the programs of Hugging Face keep.
fn home(set: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    if let Some(home) = set("HF_HOME") {
        return Some(home.into());
    }
    let cache = set("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| set("HOME").map(|home| Path::new(&home).join(".cache")));
    let cache = cache.or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    Some(cache?.join("huggingface"))
}

fn token(
    options: &HubOptions,
    set: &dyn Fn(&str) -> Option<String>,
    home: Option<&Path>,
) -> Option<String> {
    let in_file = || {
        let path = set("HF_TOKEN_PATH").map(PathBuf::from);
        fs::read_to_string(path.or_else(|| Some(home?.join("token")))?).ok()
    };
    let token = options.token.clone().or_else(|| set("HF_TOKEN")).or_else(in_file)?;
    Some(token.trim().to_string()).filter(|token| !token.is_empty())
}

fn is_yes(value: &str) -> bool {
    ["1", "true", "yes", "on"].iter().any(|yes| value.eq_ignore_ascii_case(yes))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{HubOptions, Place};

    fn place(options: &HubOptions, variables: &[(&str, &str)]) -> Place {
        let variable = |name: &str| {
            let found = variables.iter().find(|(own, _)| *own == name);
            found.map(|(_, value)| value.to_string())
        };
        Place::of(options, &variable).unwrap()
    }

    #[test]
    fn the_environment_counts_as_for_other_programs() {
        let options = HubOptions::default();
        let usual = place(&options, &[("HOME", "/h")]);
        assert_eq!(usual.cache, Path::new("/h/.cache/huggingface/hub"));
        assert_eq!(usual.endpoint, "https://huggingface.co");
        assert_eq!((usual.token, usual.offline), (None, false));

        let moved = place(&options, &[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]);
        assert_eq!(moved.cache, Path::new("/x/huggingface/hub"));
        let moved = place(&options, &[("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/own")]);
        assert_eq!(moved.cache, Path::new("/own/hub"));
        let moved = place(&options, &[("HF_HOME", "/own"), ("HF_HUB_CACHE", "/cache")]);
        assert_eq!(moved.cache, Path::new("/cache"));
        let mirror = place(&options, &[("HF_ENDPOINT", "https://mirror.example/")]);
        assert_eq!(mirror.endpoint, "https://mirror.example");
        for (value, offline) in [("1", true), ("ON", true), ("0", false), ("", false)] {
            assert_eq!(place(&options, &[("HF_HUB_OFFLINE", value)]).offline, offline);
        }
    }

    #[test]
    fn options_go_before_the_environment() {
        let options = HubOptions {
            cache: Some("/mine".into()),
            endpoint: Some("http://localhost:1".to_string()),
            token: Some("hf_mine".to_string()),
            offline: Some(false),
            ..HubOptions::default()
        };
        let variables = [
            ("HF_HUB_CACHE", "/cache"),
            ("HF_ENDPOINT", "https://mirror.example"),
            ("HF_TOKEN", "hf_other"),
            ("HF_HUB_OFFLINE", "1"),
        ];
        let place = place(&options, &variables);
        assert_eq!(place.cache, Path::new("/mine"));
        assert_eq!(place.endpoint, "http://localhost:1");
        assert_eq!((place.token.as_deref(), place.offline), (Some("hf_mine"), false));
    }

    #[test]
    fn a_token_comes_from_the_environment_or_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        let elsewhere = folder.path().join("elsewhere");
        fs::write(folder.path().join("token"), "hf_file\n").unwrap();
        fs::write(&elsewhere, " hf_elsewhere ").unwrap();
        let elsewhere = elsewhere.to_str().unwrap();
        let options = HubOptions::default();
        let token = |variables: &[(&str, &str)]| place(&options, variables).token;
        assert_eq!(token(&[("HF_HOME", home)]).as_deref(), Some("hf_file"));
        let both = [("HF_HOME", home), ("HF_TOKEN_PATH", elsewhere)];
        assert_eq!(token(&both).as_deref(), Some("hf_elsewhere"));
        let both = [("HF_HOME", home), ("HF_TOKEN", "hf_variable")];
        assert_eq!(token(&both).as_deref(), Some("hf_variable"));
    }

    #[test]
    fn a_token_is_not_printed() {
        let options = HubOptions { token: Some("hf_secret".to_string()), ..Default::default() };
        let printed = format!("{options:?}");
        assert!(printed.contains("***") && !printed.contains("hf_secret"), "{printed}");
    }
}
