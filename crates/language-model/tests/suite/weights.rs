//! Every format of weights that a model folder may have (`fixtures/weights/make_fixtures.py`).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::common::tensors;
use burn::tensor::{Device, FloatDType, Tensor};
use latent_text_language_model::{
    Bart, BartConfig, EncoderDecoder, EncoderDecoderConfig, LanguageModelError, T5, T5Config,
};
use latent_text_nn::weights::{TensorFile, WeightsError};
use latent_text_testing::{distance, fixture};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use tempfile::TempDir;

const FAMILIES: [&str; 2] = ["bart", "t5"];
const FORMATS: [&str; 6] = ["plain", "sharded", "bin", "old-bin", "bf16-sharded-bin", "f16"];

enum Model {
    Bart(Box<Bart>),
    T5(Box<T5>),
}

impl Model {
    fn load(family: &str, folder: &Path) -> Result<Self, LanguageModelError> {
        let device = Device::default();
        if family == "bart" {
            let bart = Bart::load(folder, &BartConfig::from_folder(folder)?, &device)?;
            Ok(Self::Bart(Box::new(bart)))
        } else {
            let t5 = T5::load(folder, &T5Config::from_folder(folder)?, &device)?;
            Ok(Self::T5(Box::new(t5)))
        }
    }

    fn save_sharded(&self, folder: &Path, max_bytes: u64) {
        match self {
            Self::Bart(bart) => bart.save_sharded(folder, max_bytes, FloatDType::F32).unwrap(),
            Self::T5(t5) => t5.save_sharded(folder, max_bytes, FloatDType::F32).unwrap(),
        }
    }

    fn save(&self, folder: &Path) {
        match self {
            Self::Bart(bart) => bart.save(folder, FloatDType::F32).unwrap(),
            Self::T5(t5) => t5.save(folder, FloatDType::F32).unwrap(),
        }
    }

    /// The states and logits of the ids that the fixtures have.
    fn outputs(&self, family: &str) -> (Tensor<3>, Tensor<3>) {
        let device = Device::default();
        let expected = tensors(&format!("weights/{family}/expected.safetensors"));
        let ids = expected.ints("ids", &device).unwrap();
        let decoder_ids = expected.ints("decoder_ids", &device).unwrap();
        match self {
            Self::Bart(bart) => {
                let states = bart.encode(ids, None);
                (states.clone(), bart.decode(decoder_ids, states, None))
            }
            Self::T5(t5) => {
                let states = t5.encode(ids, None);
                (states.clone(), t5.decode(decoder_ids, states, None))
            }
        }
    }
}

fn load(family: &str, format: &str) -> Model {
    Model::load(family, &fixture("weights").join(family).join(format)).unwrap()
}

fn refusal(family: &str, folder: &Path) -> LanguageModelError {
    match Model::load(family, folder) {
        Ok(_) => panic!("{} was accepted", folder.display()),
        Err(error) => error,
    }
}

/// A copy of fixtures of a family in one folder, which a test may damage.
fn copy_of(family: &str, formats: &[&str]) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for format in formats {
        for entry in fs::read_dir(fixture("weights").join(family).join(format)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    copy
}

#[test]
fn every_format_is_the_same_model_as_in_transformers() {
    let device = Device::default();
    for family in FAMILIES {
        let expected = tensors(&format!("weights/{family}/expected.safetensors"));
        let (plain_states, plain_logits) = load(family, "plain").outputs(family);
        for format in FORMATS {
            let (states, logits) = load(family, format).outputs(family);
            assert_eq!(distance(states.clone(), plain_states.clone()), 0.0, "{family}/{format}");
            assert_eq!(distance(logits.clone(), plain_logits.clone()), 0.0, "{family}/{format}");
            assert!(distance(states, expected.tensor("states", &device).unwrap()) < 1e-5);
            assert!(distance(logits, expected.tensor("logits", &device).unwrap()) < 1e-5);
        }
    }
}

/// The checkpoint of a whole model has its encoder under a prefix.
#[test]
fn an_encoder_can_be_replaced_alone() {
    let device = Device::default();
    for (family, prefix) in [("bart", "model.encoder."), ("t5", "encoder.")] {
        let folder = fixture("weights").join(family).join("bin");
        let file = TensorFile::open_state_dict(&folder.join("pytorch_model.bin")).unwrap();
        let config = EncoderDecoderConfig::from_folder(&folder).unwrap();
        let whole = EncoderDecoder::from_tensors(&file, &config, &device).unwrap();
        let expected = tensors(&format!("weights/{family}/expected.safetensors"));
        let ids = || expected.ints("ids", &device).unwrap();
        let states: Tensor<3> = expected.tensor("states", &device).unwrap();
        assert!(distance(whole.encode(ids(), None), states.clone()) < 1e-5);

        let fresh = config.init(&device);
        let logits = |model: &EncoderDecoder| model.decode(ids(), states.clone(), None);
        assert!(distance(fresh.encode(ids(), None), states.clone()) > 1e-2);
        let replaced = fresh.with_encoder_from(&file, prefix).unwrap();
        assert_eq!(distance(replaced.encode(ids(), None), whole.encode(ids(), None)), 0.0);
        assert!(distance(logits(&replaced), logits(&whole)) > 1e-2, "the decoder is its own");

        let refused = replaced.with_encoder_from(&file, "elsewhere.").unwrap_err().to_string();
        assert!(refused.contains("missing: elsewhere."), "{refused}");
    }
}

#[test]
fn the_first_of_the_known_files_counts() {
    let files = [
        "model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
    ];
    for family in FAMILIES {
        let folder = copy_of(family, &["plain", "sharded", "bin", "bf16-sharded-bin"]);
        for file in files {
            Model::load(family, folder.path()).unwrap();
            // Were this one not the first, the model would load all the same.
            fs::write(folder.path().join(file), "damaged").unwrap();
            let refused = refusal(family, folder.path()).to_string();
            assert!(refused.contains(&format!("{file} ")), "{file}: {refused}");
            fs::remove_file(folder.path().join(file)).unwrap();
        }
        let refused = refusal(family, folder.path());
        assert!(matches!(refused, LanguageModelError::Missing { .. }), "{refused}");
        for file in files {
            assert!(refused.to_string().contains(file), "{refused}");
        }
    }
}

#[test]
fn faults_of_shards_are_named() {
    let folder = copy_of("t5", &["bf16-sharded-bin"]);
    let second = "pytorch_model-00002-of-00002.bin";
    fs::rename(folder.path().join(second), folder.path().join("away")).unwrap();
    let refused = refusal("t5", folder.path());
    assert!(matches!(refused, LanguageModelError::Weights(WeightsError::Index { .. })));
    assert!(refused.to_string().contains(&format!("missing file: {second}")), "{refused}");

    fs::copy(folder.path().join("pytorch_model-00001-of-00002.bin"), folder.path().join(second))
        .unwrap();
    let refused = refusal("t5", folder.path());
    assert!(matches!(refused, LanguageModelError::Weights(WeightsError::Index { .. })));
    assert!(refused.to_string().contains(&format!("missing in {second}: ")), "{refused}");

    let folder = copy_of("bart", &["sharded"]);
    let index = folder.path().join("model.safetensors.index.json");
    let text = fs::read_to_string(&index).unwrap();
    fs::write(&index, text.replace("model-00001-of", "../model-00001-of")).unwrap();
    let refused = refusal("bart", folder.path()).to_string();
    assert!(refused.contains("is not the name of a file beside it"), "{refused}");
}

/// Adds to the plain weights of a family a copy of the tensor `of`, with its last byte changed.
fn with_other_copy(family: &str, of: &str, name: &str) -> TempDir {
    let folder = copy_of(family, &["plain"]);
    let path = folder.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let original = tensors.tensor(of).unwrap();
    let mut data = original.data().to_vec();
    *data.last_mut().unwrap() ^= 1;
    let copy = TensorView::new(original.dtype(), original.shape().to_vec(), &data).unwrap();
    let views = tensors.iter().chain([(name, copy)]);
    let written = safetensors::serialize(views, None).unwrap();
    fs::write(path, written).unwrap();
    folder
}

#[test]
fn ties_that_disagree_are_listed() {
    for (family, of, name) in [
        ("bart", "model.shared.weight", "lm_head.weight"),
        ("bart", "model.shared.weight", "model.encoder.embed_tokens.weight"),
        ("t5", "shared.weight", "decoder.embed_tokens.weight"),
    ] {
        let folder = with_other_copy(family, of, name);
        let refused = refusal(family, folder.path()).to_string();
        let expected = format!("{name} must be the same as {of}, but has other values");
        assert!(refused.contains(&expected), "{refused}");
    }
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// The folder of a family is `LATENT_TEXT_WRITTEN_SHARDS` joined with its name where that is set, for
/// `fixtures/weights/check_in_transformers.py`.
#[test]
fn models_written_in_shards_are_the_same() {
    for family in FAMILIES {
        let temporary = tempfile::tempdir().unwrap();
        let folder = std::env::var_os("LATENT_TEXT_WRITTEN_SHARDS")
            .map_or(temporary.path().to_path_buf(), |folder| Path::new(&folder).join(family));
        let folder = folder.as_path();
        let model = load(family, "plain");
        model.save(folder);
        model.save_sharded(folder, 1000);
        let config = fixture("weights").join(family).join("plain/config.json");
        fs::copy(config, folder.join("config.json")).unwrap();
        let names = names_in(folder);
        assert!(names.contains("model.safetensors.index.json") && names.len() > 3, "{names:?}");
        assert!(!names.contains("model.safetensors"), "the old weights would go first");

        let again = Model::load(family, folder).unwrap();
        let ((states, logits), (states_again, logits_again)) =
            (model.outputs(family), again.outputs(family));
        assert_eq!(distance(states, states_again), 0.0);
        assert_eq!(distance(logits, logits_again), 0.0);
    }
}

#[test]
fn one_file_replaces_the_shards_of_an_earlier_save() {
    for family in FAMILIES {
        let folder = copy_of(family, &["sharded"]);
        load(family, "plain").save(folder.path());
        let expected = ["config.json", "model.safetensors"].map(String::from);
        assert_eq!(names_in(folder.path()), BTreeSet::from(expected));
    }
}
