//! What a GPU's first steps cost, paid once.

use std::path::PathBuf;

/// Lets this program keep the GPU kernels that it compiles and tunes, for its next run: to be called before
/// the first use of a device. Needs the feature `persistence`.
///
/// They are kept in a small database, `latent-text.db` in CubeCL's folder below the user's cache directory
/// (`~/.cache/cubecl` on Linux), which may be deleted whenever no program runs; the environment variable
/// `CUBECL_ENVIRONMENT` names another. Where it can't be written, the program runs as if it kept nothing.
/// Several programs may use it at once; but of 45 that were started in a short time, one died while it opened
/// the database, and ran when it was started again.
///
/// Returns the folder, or none if nothing was changed: without the feature, after the first use of a GPU, or
/// where the user has settings of CubeCL, in `cubecl.toml` or `burn.toml` in the current folder or one above
/// it. Those settings then say what is kept.
pub fn keep_kernels() -> Option<PathBuf> {
    #[cfg(all(feature = "persistence", not(target_family = "wasm")))]
    return kept::keep();
    #[cfg(not(all(feature = "persistence", not(target_family = "wasm"))))]
    None
}

#[cfg(all(feature = "persistence", not(target_family = "wasm")))]
mod kept {
    use std::env::current_dir;
    use std::path::{Path, PathBuf};

    use cubecl::config::cache::CacheConfig;
    use cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};
    use cubecl::records::RecordLevel;

    const NAME: &str = "latent-text";

    pub(super) fn keep() -> Option<PathBuf> {
        if current_dir().is_ok_and(|folder| has_settings(&folder)) {
            return None;
        }
        apply(settings())
    }

    fn apply(settings: CubeClRuntimeConfig) -> Option<PathBuf> {
        let folder = settings.environment.path.root();
        CubeClRuntimeConfig::try_set(settings).then_some(folder)
    }

    fn settings() -> CubeClRuntimeConfig {
        let mut settings = CubeClRuntimeConfig::default();
        settings.compilation.cache = true;
        settings.environment.name = NAME.to_string();
        settings.environment.path = CacheConfig::Global;
        // What each compilation took is written down otherwise.
        settings.environment.records.level = RecordLevel::Off;
        settings.override_from_env()
    }

    /// Whether there are settings of CubeCL in a folder or above it.
    fn has_settings(folder: &Path) -> bool {
        let whole = |folder: &Path| {
            let mut names = CubeClRuntimeConfig::file_names().iter();
            names.any(|name| CubeClRuntimeConfig::from_file_path(folder.join(name)).is_ok())
        };
        let section = |folder: &Path| {
            let mut names = CubeClRuntimeConfig::section_file_names().iter();
            names.any(|(name, section)| {
                CubeClRuntimeConfig::from_section_file_path(folder.join(name), section).is_ok()
            })
        };
        folder.ancestors().any(|folder| whole(folder) || section(folder))
    }

    #[cfg(test)]
    mod tests {
        use std::fs;

        use super::*;

        #[test]
        fn settings_are_found_in_a_folder_and_above_it() {
            let folder = tempfile::tempdir().unwrap();
            let below = folder.path().join("a/b");
            fs::create_dir_all(&below).unwrap();
            assert!(!has_settings(&below));
            let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();

            write("burn.toml", "[fusion]\n");
            assert!(!has_settings(&below), "none of CubeCL");
            write("burn.toml", "[cubecl.autotune]\nlevel = \"full\"\n");
            assert!(has_settings(&below) && has_settings(folder.path()));
            fs::remove_file(folder.path().join("burn.toml")).unwrap();
            write("cubecl.toml", "");
            assert!(has_settings(&below));
        }

        #[test]
        fn kernels_are_kept_below_the_user_s_cache_directory() {
            let file = apply(settings()).map(|folder| folder.join("latent-text.db"));
            assert_eq!(file, Some(cubecl::environment::path()));
            assert!(CubeClRuntimeConfig::get().compilation.cache);
            assert_eq!(apply(settings()), None, "settings can't change any more");
        }
    }
}
