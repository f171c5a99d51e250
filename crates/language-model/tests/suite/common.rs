use std::path::PathBuf;

use burn::tensor::{Bool, Device, FloatDType, Int, Tensor, activation};
use latent_text_language_model::{Bart, BartConfig};
use latent_text_nn::weights::TensorFile;

pub fn fixture(name: &str) -> PathBuf {
    // Read when the test runs: checkouts may share one target folder.
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("tests/fixtures").join(name)
}

pub fn tensors(name: &str) -> TensorFile {
    TensorFile::open(&fixture(name)).unwrap()
}

/// A tiny BART with random weights.
pub fn bart(device: &Device) -> Bart {
    load("bart", device)
}

pub fn load(folder: &str, device: &Device) -> Bart {
    let config = BartConfig::from_folder(&fixture(folder)).unwrap();
    Bart::load(&fixture(folder), &config, device).unwrap()
}

pub struct Prompts {
    pub ids: Tensor<2, Int>,
    pub mask: Tensor<2, Bool>,
}

pub fn prompts(file: &TensorFile, device: &Device) -> Prompts {
    Prompts {
        ids: file.ints("input_ids", device).unwrap(),
        mask: file.bools("mask", device).unwrap(),
    }
}

pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as::<f32>().unwrap()
}

/// Whether the device computes in bf16. On others results in it would mean nothing, so that a test says
/// what it leaves out.
pub fn computes_in_bf16() -> bool {
    let supported = Device::default().supports_dtype(FloatDType::BF16);
    if !supported {
        println!("left out: this device does not compute in bf16");
    }
    supported
}

/// Whether the device has the derivative of GELU by the error function; Burn's general one is that of
/// the approximation by the hyperbolic tangent.
pub fn gelu_slope_is_exact() -> bool {
    let device = Device::default().autodiff();
    let x = Tensor::<1>::from_floats([-2.0, -1.0, 1.0, 2.0], &device).require_grad();
    let slope = x.grad(&activation::gelu(x.clone()).sum().backward()).unwrap();
    // The normal distribution at x, and x times its density.
    let exact: [f32; 4] = [-0.085_231_8, -0.083_315_5, 1.083_315_5, 1.085_231_8];
    let exact = Tensor::from_floats(exact, &slope.device());
    distance(slope, exact) < 1e-5
}

/// The largest difference between two tensors.
pub fn distance<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
    assert_eq!(a.dims(), b.dims());
    let (a, b) = (values(a), values(b));
    a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, |most, next| {
        assert!(!next.is_nan());
        f32::max(most, next)
    })
}

/// The ids that a row of `texts` has between its start token and its end token.
pub fn content(row: &[u32], eos: u32) -> Vec<u32> {
    row[1..].iter().copied().take_while(|&id| id != eos).collect()
}
