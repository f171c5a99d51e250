//! Downloads by name, from a hub on this machine.

mod server;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, FloatDType, Int, Tensor};
use latent_text_language_model::hub::{HubError, HubOptions, download};
use latent_text_language_model::{EncoderDecoder, LanguageModel, LanguageModelError};
use latent_text_testing::{distance, fixture};
use server::{COMMIT, NAME, Server};
use tempfile::TempDir;

/// What of the fixture a model is loaded from.
const FILES: [&str; 5] = [
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
];

struct Hub {
    server: Server,
    cache: TempDir,
}

impl Hub {
    fn of_folder(folder: &Path) -> Self {
        Self { server: Server::of_folder(folder), cache: tempfile::tempdir().unwrap() }
    }

    fn with_files(files: &[&str]) -> Self {
        let files = files.iter().map(|file| (file.to_string(), file.as_bytes().to_vec()));
        Self { server: Server::new(files.collect()), cache: tempfile::tempdir().unwrap() }
    }

    fn options(&self) -> HubOptions {
        HubOptions {
            cache: Some(self.cache.path().to_path_buf()),
            endpoint: Some(self.server.endpoint()),
            token: Some(String::new()),
            offline: Some(false),
            progress: false,
            ..HubOptions::default()
        }
    }

    fn download(&self) -> Result<PathBuf, LanguageModelError> {
        download(NAME, &self.options())
    }

    #[track_caller]
    fn refused(&self) -> HubError {
        refused(self.download())
    }
}

#[track_caller]
fn refused(result: Result<PathBuf, LanguageModelError>) -> HubError {
    match result {
        Err(LanguageModelError::Hub(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn load(folder: &Path) -> LanguageModel {
    LanguageModel::load(folder, &Device::default()).unwrap()
}

#[track_caller]
fn assert_same(model: &LanguageModel, other: &LanguageModel) {
    let ids = Tensor::<2, Int>::from_ints([[0, 30, 40, 2]], &Device::default());
    let states = |model: &LanguageModel| model.model.encode(ids.clone(), None);
    assert_eq!(distance(states(model), states(other)), 0.0);
}

#[test]
fn a_model_is_downloaded_once() {
    let hub = Hub::of_folder(&fixture("bart"));
    let more = ["README.md", "pytorch_model.bin", "tf_model.h5", "vocab.json", "merges.txt"];
    for file in more {
        hub.server.site.lock().unwrap().files.insert(file.to_string(), b"not needed".to_vec());
    }
    let folder = hub.download().unwrap();
    assert_eq!(hub.server.downloads(), FILES);
    assert_eq!(names(&folder), FILES);
    assert_same(&load(&folder), &load(&fixture("bart")));

    assert_eq!(hub.download().unwrap(), folder);
    assert_eq!(hub.server.requests(), 0);
    let update = HubOptions { update: true, ..hub.options() };
    assert_eq!(download(NAME, &update).unwrap(), folder);
    assert_eq!((hub.server.requests(), hub.server.downloads()), (1, vec![]));

    let by_commit = HubOptions { revision: COMMIT.to_string(), ..hub.options() };
    assert_eq!(download(NAME, &by_commit).unwrap(), folder);
    let (offline, Hub { server, cache: _cache }) = (hub.options(), hub);
    drop(server);
    assert_eq!(download(NAME, &offline).unwrap(), folder);
    load(&folder);
}

#[test]
fn the_cache_is_laid_out_as_that_of_other_programs() {
    let hub = Hub::of_folder(&fixture("bart"));
    let folder = hub.download().unwrap();
    let model = hub.cache.path().join("models--someone--tiny-bart");
    assert_eq!(folder, model.join("snapshots").join(COMMIT));
    assert_eq!(fs::read_to_string(model.join("refs/main")).unwrap(), COMMIT);
    assert!(model.join(".no_exist").join(COMMIT).join("special_tokens_map.json").is_file());
    let content = fs::canonicalize(folder.join("model.safetensors")).unwrap();
    assert_eq!(content.parent().unwrap(), fs::canonicalize(model.join("blobs")).unwrap());
}

#[test]
fn files_that_another_program_has_left_are_completed() {
    let hub = Hub::of_folder(&fixture("bart"));
    let folder = hub.download().unwrap();
    hub.server.downloads();
    // Without it texts would be decoded in another way, and nothing would tell.
    fs::remove_file(folder.join("generation_config.json")).unwrap();
    let nothing = HubOptions { offline: Some(true), ..hub.options() };
    assert!(matches!(refused(download(NAME, &nothing)), HubError::NotCached { .. }));
    assert_eq!(hub.download().unwrap(), folder);
    assert_eq!(hub.server.downloads(), ["generation_config.json"]);
    assert_eq!(names(&folder), FILES);
}

#[test]
fn sharded_weights_come_with_all_their_files() {
    let model = load(&fixture("bart"));
    let sharded = tempfile::tempdir().unwrap();
    model.save(sharded.path(), FloatDType::F32).unwrap();
    let EncoderDecoder::Bart(bart) = &model.model else { panic!("a BART") };
    bart.save_sharded(sharded.path(), 50_000, FloatDType::F32).unwrap();
    let hub = Hub::of_folder(sharded.path());
    let folder = hub.download().unwrap();
    let downloaded = names(&folder);
    let shards = downloaded.iter().filter(|name| name.starts_with("model-0000")).count();
    assert!(shards > 1, "{downloaded:?}");
    assert!(downloaded.iter().any(|name| name == "model.safetensors.index.json"));
    assert_same(&load(&folder), &model);

    hub.server.downloads();
    let shard = downloaded.iter().find(|name| name.starts_with("model-0000")).unwrap();
    fs::remove_file(folder.join(shard)).unwrap();
    hub.download().unwrap();
    assert_eq!(hub.server.downloads(), [shard.as_str()]);
}

#[test]
fn old_repositories_have_other_files() {
    let files = ["config.json", "flax_model.msgpack", "pytorch_model.bin", "spiece.model"];
    let hub = Hub::with_files(&files);
    let folder = hub.download().unwrap();
    assert_eq!(names(&folder), ["config.json", "pytorch_model.bin", "spiece.model"]);
    assert_eq!(hub.download().unwrap(), folder);
}

#[test]
fn an_index_can_not_lead_out_of_the_folder() {
    let index = "model.safetensors.index.json";
    let hub = Hub::with_files(&["config.json", "tokenizer.json", index]);
    for (shard, says) in [("../../../x.safetensors", "no name of a file"), ("x", "has no x")] {
        let content = format!("{{\"weight_map\": {{\"a\": \"{shard}\"}}}}");
        hub.server.site.lock().unwrap().files.insert(index.to_string(), content.into_bytes());
        let fresh = tempfile::tempdir().unwrap();
        let options = HubOptions { cache: Some(fresh.path().to_path_buf()), ..hub.options() };
        let error = refused(download(NAME, &options));
        assert!(full_message(&error).contains(says), "{}", full_message(&error));
    }
}

#[test]
fn a_broken_download_goes_on_where_it_stopped() {
    let hub = Hub::of_folder(&fixture("bart"));
    hub.server.site.lock().unwrap().cut = Some(("model.safetensors", 1000));
    let error = hub.refused();
    let HubError::Download { file, .. } = &error else { panic!("{error:?}") };
    assert_eq!(file, "model.safetensors");
    let snapshot = hub.cache.path().join("models--someone--tiny-bart/snapshots").join(COMMIT);
    assert!(!names(&snapshot).contains(&"model.safetensors".to_string()));
    assert!(!hub.cache.path().join("models--someone--tiny-bart/refs/main").exists());

    let mut site = hub.server.site.lock().unwrap();
    (site.cut, site.requests) = (None, Vec::new());
    drop(site);
    let folder = hub.download().unwrap();
    let requests = hub.server.site.lock().unwrap().requests.clone();
    assert!(requests.contains(&"/cdn/model.safetensors bytes=1000-".to_string()), "{requests:?}");
    assert_eq!(hub.server.downloads(), ["model.safetensors"]);
    assert_same(&load(&folder), &load(&fixture("bart")));
    assert!(names(&folder.join("../../blobs")).iter().all(|name| !name.ends_with(".part")));
}

#[test]
fn a_part_that_can_not_be_continued_is_dropped() {
    let hub = Hub::of_folder(&fixture("bart"));
    hub.server.site.lock().unwrap().cut = Some(("model.safetensors", 1000));
    hub.refused();
    hub.server.site.lock().unwrap().cut = None;
    let blobs = hub.cache.path().join("models--someone--tiny-bart/blobs");
    let part = names(&blobs).into_iter().find(|name| name.ends_with(".part")).unwrap();
    let size = fs::metadata(fixture("bart").join("model.safetensors")).unwrap().len();
    fs::write(blobs.join(part), vec![0; size as usize]).unwrap();
    assert_same(&load(&hub.download().unwrap()), &load(&fixture("bart")));
}

#[test]
fn a_file_of_another_size_is_not_kept() {
    let hub = Hub::of_folder(&fixture("bart"));
    hub.server.site.lock().unwrap().wrong_sizes = true;
    let error = hub.refused();
    assert!(matches!(&error, HubError::Size { file, .. } if file == "config.json"), "{error:?}");
    hub.server.site.lock().unwrap().wrong_sizes = false;
    hub.server.downloads();
    hub.download().unwrap();
    assert_eq!(hub.server.downloads(), FILES);
}

#[test]
fn models_that_are_not_open_need_a_token() {
    let hub = Hub::of_folder(&fixture("bart"));
    hub.server.site.lock().unwrap().token = Some("hf_right");
    for token in ["", "hf_wrong"] {
        let options = HubOptions { token: Some(token.to_string()), ..hub.options() };
        let error = refused(download(NAME, &options));
        assert!(matches!(error, HubError::NoAccess { .. }), "{error:?}");
        assert!(error.to_string().contains("HF_TOKEN"));
    }
    let options = HubOptions { token: Some("hf_right".to_string()), ..hub.options() };
    load(&download(NAME, &options).unwrap());
}

#[test]
fn refusals_say_what_is_wrong() {
    let hub = Hub::of_folder(&fixture("bart"));
    let unknown = refused(download("someone/else", &hub.options()));
    assert!(matches!(unknown, HubError::UnknownModel { .. }), "{unknown:?}");
    assert!(unknown.to_string().contains("someone/else at main"), "{unknown}");

    type Expected = fn(&HubError) -> bool;
    let cases: [(u16, &str, Expected); 6] = [
        (404, "RepoNotFound", |error| matches!(error, HubError::UnknownModel { .. })),
        (404, "RevisionNotFound", |error| matches!(error, HubError::UnknownRevision { .. })),
        (401, "RepoNotFound", |error| matches!(error, HubError::NoAccess { .. })),
        (403, "GatedRepo", |error| matches!(error, HubError::NoAccess { .. })),
        (500, "", |error| matches!(error, HubError::Status { status: 500, .. })),
        (429, "", |error| matches!(error, HubError::Status { status: 429, .. })),
    ];
    for (status, code, expected) in cases {
        hub.server.site.lock().unwrap().refusal = Some((status, code));
        let error = hub.refused();
        assert!(expected(&error), "{status} {code}: {error:?}");
        assert!(error.to_string().contains(NAME), "{error}");
    }
    assert!(names(hub.cache.path()).is_empty());
}

#[test]
fn what_is_no_hub_and_what_is_nowhere_is_told_of() {
    let hub = Hub::of_folder(&fixture("bart"));
    hub.server.site.lock().unwrap().refusal = Some((200, ""));
    let error = hub.refused();
    assert!(matches!(error, HubError::Answer { .. }), "{error:?}");

    let Hub { server, cache } = hub;
    let endpoint = server.endpoint();
    drop(server);
    let options = HubOptions {
        cache: Some(cache.path().to_path_buf()),
        endpoint: Some(endpoint.clone()),
        offline: Some(false),
        ..HubOptions::default()
    };
    let error = refused(download(NAME, &options));
    assert!(matches!(error, HubError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains(&endpoint) && error.source().is_some(), "{error}");

    let offline = HubOptions { offline: Some(true), ..options };
    let error = refused(download(NAME, &offline));
    assert!(matches!(error, HubError::NotCached { .. }), "{error:?}");
    assert!(error.to_string().contains("HF_HUB_OFFLINE"), "{error}");
}

#[test]
fn repositories_of_other_kinds_are_refused_before_anything_is_downloaded() {
    for (files, lacks) in [
        (&["model.safetensors", "tokenizer.json"][..], "config.json"),
        (&["config.json", "model.safetensors", "sentencepiece.bpe.model"], "spiece.model"),
        (&["config.json", "tokenizer.json", "model.onnx"], "pytorch_model.bin"),
    ] {
        let hub = Hub::with_files(files);
        let error = hub.refused();
        assert!(matches!(error, HubError::Lacking { .. }), "{error:?}");
        assert!(error.to_string().contains(lacks), "{error}");
        assert!(hub.server.downloads().is_empty());
    }
}

/// The message with those of its causes.
fn full_message(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        message = format!("{message}: {next}");
        cause = next.source();
    }
    message
}
