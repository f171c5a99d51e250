//! Weight files: round trips, PyTorch's layout, and damaged or unfitting files.

use std::fs;
use std::path::Path;

use burn::module::Module;
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::{Device, FloatDType, Tensor};
use latent_text_nn::weights::{self, TensorFile, WeightsError};

#[derive(Module, Debug)]
struct Pair {
    norm: LayerNorm,
    layers: Vec<Linear>,
}

fn pair(device: &Device) -> Pair {
    Pair {
        norm: LayerNormConfig::new(3).init(device),
        layers: vec![
            LinearConfig::new(3, 2).init(device),
            LinearConfig::new(2, 5).with_bias(false).init(device),
        ],
    }
}

fn same(name: &str) -> String {
    name.to_string()
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as().unwrap()
}

#[test]
fn saved_parameters_come_back_exactly_and_are_named_as_in_torch() {
    let device = Device::default();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pair.safetensors");
    let written = pair(&device);
    weights::save(&written, &path, FloatDType::F32, &same).unwrap();

    let file = TensorFile::open(&path).unwrap();
    assert_eq!(
        file.names(),
        ["layers.0.bias", "layers.0.weight", "layers.1.weight", "norm.bias", "norm.weight"]
    );
    assert_eq!(file.shape("layers.0.weight"), Some(vec![2, 3]), "torch stores [out, in]");
    let in_file = file.tensor::<2>("layers.0.weight", &device).unwrap();
    assert_eq!(values(in_file), values(written.layers[0].weight.val().transpose()));

    let read = weights::load(pair(&device), &path, &same).unwrap();
    for (a, b) in read.layers.iter().zip(&written.layers) {
        assert_eq!(values(a.weight.val()), values(b.weight.val()));
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn half_precision_files_load_as_f32() {
    let device = Device::default();
    let folder = tempfile::tempdir().unwrap();
    for dtype in [FloatDType::F16, FloatDType::BF16] {
        let path = folder.path().join("half.safetensors");
        let written = pair(&device);
        weights::save(&written, &path, dtype, &same).unwrap();
        let read = weights::load(pair(&device), &path, &same).unwrap();
        let (a, b) = (read.layers[0].weight.val(), written.layers[0].weight.val());
        assert_eq!(a.dtype(), FloatDType::F32.into());
        let worst = values((a - b).abs().max())[0];
        assert!(worst > 0.0 && worst < 4e-3, "{worst}");
    }
}

#[test]
fn a_value_beyond_f16_is_refused() {
    let device = Device::default();
    let folder = tempfile::tempdir().unwrap();
    let mut module = LinearConfig::new(1, 1).init(&device);
    module.weight = module.weight.map(|weight| weight * 0.0 + 1e6);
    let error =
        weights::save(&module, &folder.path().join("x"), FloatDType::F16, &same).unwrap_err();
    assert!(error.to_string().contains("weight"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn every_misfit_is_listed() {
    let device = Device::default();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pair.safetensors");
    weights::save(&pair(&device), &path, FloatDType::F32, &same).unwrap();
    let mut other = pair(&device);
    other.layers = vec![LinearConfig::new(3, 4).init(&device)];
    other.layers.push(LinearConfig::new(2, 5).init(&device));
    let error = weights::load(other, &path, &|name| name.replace("norm.", "ln.")).unwrap_err();
    let WeightsError::Mismatch { problems, .. } = &error else { panic!("{error}") };
    for expected in ["missing: ln.weight", "missing: layers.1.bias", "unexpected: norm.bias"] {
        assert!(
            problems.iter().any(|problem| problem == expected),
            "{expected} not in {problems:?}"
        );
    }
    assert!(
        problems
            .iter()
            .any(|p| p.contains("layers.0.weight has shape [2, 3]") && p.contains("[4, 3]"))
    );
}

#[test]
fn damaged_files_give_errors() {
    let device = Device::default();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pair.safetensors");
    weights::save(&pair(&device), &path, FloatDType::F32, &same).unwrap();
    let whole = fs::read(&path).unwrap();
    for length in [0, 4, 9, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        let error = weights::load(pair(&device), &path, &same).unwrap_err();
        assert!(matches!(error, WeightsError::Format { .. }), "{length} bytes: {error}");
    }
    let missing =
        weights::load(pair(&device), Path::new("no/such.safetensors"), &same).unwrap_err();
    assert!(missing.to_string().contains("no/such.safetensors"));
}

#[test]
fn a_failed_save_keeps_the_old_file() {
    let device = Device::default();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pair.safetensors");
    let mut module = pair(&device);
    weights::save(&module, &path, FloatDType::F32, &same).unwrap();
    let before = fs::read(&path).unwrap();
    let last = &mut module.layers[1];
    last.weight = last.weight.clone().map(|weight| weight * 0.0 + 1e6);
    assert!(weights::save(&module, &path, FloatDType::F16, &same).is_err());
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn two_parameters_of_one_name_are_refused() {
    let device = Device::default();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pair.safetensors");
    let name_of = |name: &str| name.replace("layers.1", "layers.0");
    let refused = weights::save(&pair(&device), &path, FloatDType::F32, &name_of).unwrap_err();
    assert!(refused.to_string().contains("layers.0.weight"), "{refused}");
}

/// Larger than what is read, written and transposed at a time, and not a multiple of it.
#[test]
fn large_matrices_are_put_together_again() {
    let device = Device::default();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.safetensors");
    let written = LinearConfig::new(701, 1203).init(&device);
    for dtype in [FloatDType::F32, FloatDType::BF16] {
        weights::save(&written, &path, dtype, &same).unwrap();
        let file = TensorFile::open(&path).unwrap();
        let read = weights::load(LinearConfig::new(701, 1203).init(&device), &path, &same).unwrap();
        let expected = written.weight.val().cast(dtype).cast(FloatDType::F32);
        assert_eq!(values(read.weight.val()), values(expected.clone()));
        assert_eq!(file.floats("weight").unwrap(), values(expected.transpose()));
    }
}

#[test]
fn large_matrices_are_compared_to_the_end() {
    let device = Device::default();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("twins.safetensors");
    let one = LinearConfig::new(701, 1203).with_bias(false).init(&device);
    let mut twins = vec![one.clone(), one];
    for equal in [true, false] {
        if !equal {
            let weight = twins[1].weight.val();
            let last = weight.clone().slice([700..701, 1202..1203]);
            let other = weight.slice_assign([700..701, 1202..1203], last + 1.0);
            twins[1].weight = burn::module::Param::from_tensor(other);
        }
        weights::save(&twins, &path, FloatDType::F32, &same).unwrap();
        let file = TensorFile::open(&path).unwrap();
        let [first, second] = &file.names()[..] else { panic!("{:?}", file.names()) };
        assert_eq!(file.are_equal(first, second).unwrap(), equal);
    }
}

#[test]
fn a_folder_in_place_of_a_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let refused = TensorFile::open(folder.path()).map(|_| ()).unwrap_err();
    assert!(matches!(refused, WeightsError::Read { .. }), "{refused}");
}
