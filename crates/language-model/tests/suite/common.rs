use burn::tensor::{Bool, Device, FloatDType, Int, Tensor, activation};
use latent_text_language_model::{Bart, BartConfig};
use latent_text_nn::weights::TensorFile;
use latent_text_testing::{distance, fixture};

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

/// The ids that a row of `texts` has between its start token and its end token.
pub fn content(row: &[u32], eos: u32) -> Vec<u32> {
    row[1..].iter().copied().take_while(|&id| id != eos).collect()
}
