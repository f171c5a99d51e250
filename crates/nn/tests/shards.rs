//! Checkpoints in several files: written, read, and at odds with their index.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, FloatDType, Tensor};
use latent_text_nn::weights::{self, TensorFile, WeightsError};
use serde_json::{Value, json};

#[derive(Module, Debug)]
struct Stack {
    layers: Vec<Linear>,
}

/// Four layers of 6 x 2 weights and two biases: 56 bytes each in f32, of which 48 are the weights.
fn stack(device: &Device) -> Stack {
    Stack { layers: (0..4).map(|_| LinearConfig::new(6, 2).init(device)).collect() }
}

fn same(name: &str) -> String {
    name.to_string()
}

fn save(
    module: &Stack,
    folder: &Path,
    max_bytes: u64,
    dtype: FloatDType,
) -> Result<(), WeightsError> {
    weights::save_sharded(module, &folder.join("model.safetensors"), max_bytes, dtype, &same)
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| name.to_string()).collect()
}

fn values(tensor: Tensor<2>) -> Vec<f32> {
    tensor.try_into_vec_as().unwrap()
}

fn read(folder: &Path, device: &Device) -> Result<Stack, WeightsError> {
    let file = TensorFile::open_index(&folder.join("model.safetensors.index.json"))?;
    weights::load_with(stack(device), &file, &same, &|_| false)
}

fn index(folder: &Path) -> Value {
    let text = fs::read(folder.join("model.safetensors.index.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn shards_come_back_as_one_model() {
    let device = Device::default();
    let folder = tempfile::tempdir().unwrap();
    let written = stack(&device);
    save(&written, folder.path(), 112, FloatDType::F32).unwrap();
    assert_eq!(
        names_in(folder.path()),
        set(&[
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
        ])
    );
    let index = index(folder.path());
    assert_eq!(index["metadata"], json!({"total_parameters": 56, "total_size": 224}));
    assert_eq!(index["weight_map"].as_object().unwrap().len(), 8);
    assert_eq!(index["weight_map"]["layers.2.bias"], "model-00002-of-00002.safetensors");

    let again = read(folder.path(), &device).unwrap();
    for (a, b) in again.layers.iter().zip(&written.layers) {
        assert_eq!(values(a.weight.val()), values(b.weight.val()));
    }
}

#[test]
fn a_parameter_that_is_too_large_has_a_file_to_itself() {
    let device = Device::default();
    let folder = tempfile::tempdir().unwrap();
    save(&stack(&device), folder.path(), 9, FloatDType::F16).unwrap();
    assert_eq!(names_in(folder.path()).len(), 9);
    assert!(folder.path().join("model-00008-of-00008.safetensors").exists());
    read(folder.path(), &device).unwrap();
}

#[test]
fn what_earlier_saves_left_is_removed() {
    let device = Device::default();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("vocab-00001-of-00002.safetensors"), "other").unwrap();
    let module = stack(&device);
    save(&module, folder.path(), u64::MAX, FloatDType::F32).unwrap();
    let other = "vocab-00001-of-00002.safetensors";
    assert_eq!(names_in(folder.path()), set(&["model.safetensors", other]), "one file is enough");

    save(&module, folder.path(), 60, FloatDType::F32).unwrap();
    let names = names_in(folder.path());
    assert_eq!(names.len(), 6, "{names:?}");
    assert!(!names.contains("model.safetensors"), "it would go before the index");

    save(&module, folder.path(), 112, FloatDType::F32).unwrap();
    let names = names_in(folder.path());
    assert_eq!(names.len(), 4, "{names:?}");
    assert!(names.iter().all(|name| !name.contains("of-00004")), "{names:?}");

    save(&module, folder.path(), u64::MAX, FloatDType::F32).unwrap();
    assert_eq!(names_in(folder.path()), set(&["model.safetensors", other]));
}

#[test]
fn a_failed_save_leaves_everything_as_it_was() {
    let device = Device::default();
    let folder = tempfile::tempdir().unwrap();
    let mut module = stack(&device);
    save(&module, folder.path(), 112, FloatDType::F32).unwrap();
    let before: Vec<_> =
        names_in(folder.path()).iter().map(|n| fs::read(folder.path().join(n)).unwrap()).collect();
    let last = &mut module.layers[3];
    last.weight = last.weight.clone().map(|weight| weight * 0.0 + 1e6);
    for max_bytes in [56, u64::MAX] {
        let refused = save(&module, folder.path(), max_bytes, FloatDType::F16).unwrap_err();
        assert!(refused.to_string().contains("layers.3.weight"), "{refused}");
        let after: Vec<_> = names_in(folder.path())
            .iter()
            .map(|n| fs::read(folder.path().join(n)).unwrap())
            .collect();
        assert_eq!(after, before);
    }
}

#[test]
fn an_index_that_its_files_do_not_bear_out_is_refused() {
    let device = Device::default();
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    save(&stack(&device), folder.path(), 112, FloatDType::F32).unwrap();
    let path = folder.path().join("model.safetensors.index.json");
    let good = index(folder.path());
    let refusal = |index: Value| {
        fs::write(&path, index.to_string()).unwrap();
        TensorFile::open_index(&path).map(|_| ()).unwrap_err()
    };

    let mut bad = good.clone();
    bad["weight_map"]["layers.3.bias"] = json!("model-00003-of-00003.safetensors");
    bad["weight_map"]["layers.0.bias"] = json!("../other/model.safetensors");
    bad["weight_map"]["layers.1.bias"] = json!("/model.safetensors");
    let refused = refusal(bad);
    let WeightsError::Index { problems, .. } = &refused else { panic!("{refused}") };
    assert_eq!(
        problems,
        &[
            "`../other/model.safetensors` is not the name of a file beside it",
            "`/model.safetensors` is not the name of a file beside it",
            "missing file: model-00003-of-00003.safetensors",
        ]
    );

    let mut bad = good.clone();
    bad["weight_map"]["layers.0.bias"] = json!(second);
    bad["weight_map"]["layers.9.bias"] = json!(first);
    bad["weight_map"].as_object_mut().unwrap().remove("layers.3.weight");
    let refused = refusal(bad);
    let WeightsError::Index { path: named, problems } = &refused else { panic!("{refused}") };
    assert_eq!(named, &path);
    assert_eq!(
        problems,
        &[
            format!("missing in {first}: layers.9.bias"),
            format!("not in the index: layers.0.bias of {first}"),
            format!("missing in {second}: layers.0.bias"),
            format!("not in the index: layers.3.weight of {second}"),
        ]
    );

    for bad in [json!({}), json!([]), json!({"weight_map": {"a": 1}}), json!({"weight_map": null})]
    {
        let refused = refusal(bad);
        assert!(matches!(refused, WeightsError::Index { .. }), "{refused}");
    }

    fs::write(&path, good.to_string()).unwrap();
    let whole = fs::read(folder.path().join(second)).unwrap();
    fs::write(folder.path().join(second), &whole[..whole.len() - 1]).unwrap();
    let refused = TensorFile::open_index(&path).map(|_| ()).unwrap_err();
    assert!(matches!(&refused, WeightsError::Format { path, .. } if path.ends_with(second)));
}
