//! State dicts that `torch.save` wrote (`fixtures/make_state_dicts.py`).

use std::path::{Path, PathBuf};

use burn::nn::LinearConfig;
use burn::tensor::Device;
use latent_text_nn::weights::{self, TensorFile, WeightsError};

fn fixture(name: &str) -> PathBuf {
    // Read when the test runs: checkouts may share one target folder.
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap())
        .join("tests/fixtures/state_dicts")
        .join(name)
}

fn open(name: &str) -> TensorFile {
    TensorFile::open_state_dict(&fixture(name)).unwrap()
}

fn refusal(path: &Path) -> String {
    refusal_in(path, &[])
}

#[track_caller]
fn refusal_in(path: &Path, keys: &[&str]) -> String {
    match TensorFile::open_state_dict_in(path, keys) {
        Err(error @ WeightsError::StateDict { .. }) => error.to_string(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("{} was accepted", path.display()),
    }
}

#[test]
fn both_formats_hold_what_torch_saved() {
    let device = Device::default();
    let expected = TensorFile::open(&fixture("expected.safetensors")).unwrap();
    for name in ["zip.bin", "stream.bin"] {
        let file = open(name);
        assert_eq!(file.names(), expected.names());
        for tensor in file.names() {
            assert_eq!(file.shape(&tensor), expected.shape(&tensor), "{name}: {tensor}");
            match tensor.as_str() {
                "ints" | "small_ints" | "wide_ints" | "flags" => {}
                _ => assert_eq!(file.floats(&tensor).unwrap(), expected.floats(&tensor).unwrap()),
            }
        }
        let ints = |file: &TensorFile| {
            let wide = file.ints::<2>("ints", &device).unwrap().try_into_vec_as::<i64>().unwrap();
            let small = file.ints::<1>("small_ints", &device).unwrap();
            (wide, small.try_into_vec_as::<i64>().unwrap())
        };
        assert_eq!(ints(&file), ints(&expected));
        let refused = file.ints::<1>("wide_ints", &device).unwrap_err().to_string();
        assert!(refused.contains("1099511627776, which 32 bits can't"), "{refused}");
        let flags = file.bools::<1>("flags", &device).unwrap().try_into_vec_as::<bool>().unwrap();
        assert_eq!(flags, [true, false, true]);
    }
}

#[test]
fn parameters_are_tensors() {
    let file = open("parameters.bin");
    assert_eq!(file.names(), ["bias", "weight"]);
    let all = open("zip.bin");
    assert_eq!(file.floats("weight").unwrap(), all.floats("weight").unwrap());
}

/// Checkpoints that were converted from other frameworks often have transposed views.
#[test]
fn linear_weights_may_be_views() {
    let device = Device::default();
    for tensor in ["turned", "part"] {
        for name in ["zip.bin", "stream.bin"] {
            let linear = LinearConfig::new(4, 3).with_bias(false).init(&device);
            let name_of = |_: &str| tensor.to_string();
            let linear = weights::load_with(linear, &open(name), &name_of, &|_| true).unwrap();
            let expected = TensorFile::open(&fixture("expected.safetensors")).unwrap();
            let expected = expected.tensor::<2>(tensor, &device).unwrap().transpose();
            assert_eq!(
                linear.weight.val().try_into_vec_as::<f32>().unwrap(),
                expected.try_into_vec_as::<f32>().unwrap(),
                "{name}: {tensor}"
            );
        }
    }
}

#[test]
fn equal_tensors_are_told_from_others() {
    for name in ["zip.bin", "expected.safetensors"] {
        let file = if name.ends_with(".bin") {
            open(name)
        } else {
            TensorFile::open(&fixture(name)).unwrap()
        };
        assert!(file.are_equal("weight", "tied").unwrap());
        assert!(file.are_equal("turned", "turned").unwrap());
        assert!(!file.are_equal("part", "turned").unwrap(), "both are [3, 4]");
        assert!(!file.are_equal("weight", "bias").unwrap());
        assert!(matches!(file.are_equal("weight", "none"), Err(WeightsError::Tensor { .. })));
        assert!(matches!(file.are_equal("ints", "ints"), Err(WeightsError::Tensor { .. })));
    }
}

#[test]
fn what_is_no_plain_state_dict_is_refused() {
    for (name, reason) in [
        // The module of `os.system` has another name on Windows.
        ("hostile.bin", "posix.system`, which no state dict needs; nothing was run"),
        ("repeated.bin", "of shape [1000000000] is larger than its storage of 1 elements"),
        ("nested.bin", "`state_dict` is no tensor"),
        ("bare.bin", "must hold a dictionary of tensors"),
        ("compressed.bin", "is compressed or encrypted"),
        ("expected.safetensors", "neither a zip archive nor PyTorch's older format"),
    ] {
        let refused = refusal(&fixture(name));
        assert!(refused.contains(name) && refused.contains(reason), "{refused}");
    }
    assert!(!Path::new("hostile-was-here").exists());
}

#[test]
fn state_dicts_are_found_in_checkpoints() {
    for name in ["checkpoint.bin", "checkpoint-stream.bin"] {
        let open = |keys: &[&str]| TensorFile::open_state_dict_in(&fixture(name), keys).unwrap();
        let (model, average) = (open(&["model"]), open(&["ema"]));
        assert_eq!(model.names(), ["bias", "weight"]);
        assert_eq!(average.names(), ["ema_model.bias", "ema_model.weight", "initted", "step"]);
        for tensor in model.names() {
            let halves: Vec<f32> =
                model.floats(&tensor).unwrap().iter().map(|value| value / 2.0).collect();
            assert_eq!(average.floats(&format!("ema_model.{tensor}")).unwrap(), halves, "{name}");
        }
        let steps = average.ints::<1>("step", &Device::default()).unwrap();
        assert_eq!(steps.try_into_vec_as::<i64>().unwrap(), [1]);
    }
    let nested = TensorFile::open_state_dict_in(&fixture("nested.bin"), &["state_dict"]).unwrap();
    assert_eq!(nested.names(), open("zip.bin").names());
}

/// In the file all storages of the other state dicts are missing.
#[test]
fn only_what_is_asked_for_is_read_from_checkpoints() {
    let path = fixture("average-only.bin");
    let average = TensorFile::open_state_dict_in(&path, &["ema"]).unwrap();
    assert_eq!(average.floats("ema_model.bias").unwrap().len(), 5);
    let refused = refusal_in(&path, &["model"]);
    assert!(refused.contains("lacks the entry `data/0`"), "{refused}");
}

#[test]
fn what_is_not_in_a_checkpoint_is_named() {
    for name in ["checkpoint.bin", "checkpoint-stream.bin"] {
        for (keys, reason) in [
            (&["average"][..], "one entry `average`, but has only `step`, `model`, `opt`, `ema`"),
            (&["ema", "weight"], "one entry `weight`, but has only `initted`, `step`"),
            (&["step", "ema"], "must have one entry `ema`"),
            (&["step"], "its `step` must be a dictionary of tensors"),
            (&["opt", "param_groups"], "its `opt.param_groups` must be a dictionary of tensors"),
            (&["opt", "state"], "its `opt.state` must be a dictionary of tensors"),
            (&["run"], "but `rate` is no tensor"),
            (&[], "but `step` is no tensor"),
        ] {
            let refused = refusal_in(&fixture(name), keys);
            assert!(refused.contains(name) && refused.contains(reason), "{refused}");
        }
    }
}

#[test]
fn code_beside_the_wanted_state_dict_is_refused_too() {
    let refused = refusal_in(&fixture("hostile-checkpoint.bin"), &["ema"]);
    assert!(refused.contains("posix.system`, which no state dict needs"), "{refused}");
    assert!(!Path::new("hostile-was-here").exists());
}

#[test]
fn tensors_can_be_left_out_and_cut() {
    for name in ["zip.bin", "expected.safetensors"] {
        let mut file = match name {
            "zip.bin" => open(name),
            _ => TensorFile::open(&fixture(name)).unwrap(),
        };
        let whole = file.floats("weight").unwrap();
        let turned = file.floats("turned").unwrap();
        file.retain(|name| ["weight", "turned"].contains(&name));
        assert_eq!(file.names(), ["turned", "weight"]);
        for (tensor, values, columns) in [("weight", whole, 3), ("turned", turned, 4)] {
            let shape = file.shape(tensor).unwrap();
            file.keep_rows(tensor, shape[0]).unwrap();
            assert_eq!(file.shape(tensor).unwrap(), shape);
            file.keep_rows(tensor, 2).unwrap();
            assert_eq!(file.shape(tensor).unwrap(), [2, columns]);
            assert_eq!(file.floats(tensor).unwrap(), values[..2 * columns], "{name}: {tensor}");
            let refused = file.keep_rows(tensor, 3).unwrap_err().to_string();
            assert!(refused.contains(tensor) && refused.contains("fewer than 3 rows"), "{refused}");
        }
        assert!(file.keep_rows("bias", 1).unwrap_err().to_string().contains("missing"));
    }
}

#[test]
fn files_that_are_cut_off_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.bin");
    for name in ["zip.bin", "stream.bin"] {
        let whole = std::fs::read(fixture(name)).unwrap();
        for length in (0..whole.len()).step_by(11).chain([whole.len() - 1]) {
            std::fs::write(&path, &whole[..length]).unwrap();
            refusal(&path);
        }
    }
    for name in ["checkpoint.bin", "checkpoint-stream.bin"] {
        let whole = std::fs::read(fixture(name)).unwrap();
        for length in (0..whole.len()).step_by(13).chain([whole.len() - 1]) {
            std::fs::write(&path, &whole[..length]).unwrap();
            refusal_in(&path, &["ema"]);
        }
    }
}
