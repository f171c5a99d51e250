use burn::tensor::{Tensor, activation};
use latent_text_kernels::gelu;
use serde::{Deserialize, Serialize};

/// Activation of the feed-forward layers; read under all the names that `transformers` has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// GELU by the error function (Hendrycks and Gimpel, 2016).
    #[serde(alias = "gelu_python")]
    Gelu,
    /// GELU by the hyperbolic tangent, an approximation of the former.
    #[serde(
        alias = "gelu_pytorch_tanh",
        alias = "gelu_python_tanh",
        alias = "gelu_fast",
        alias = "gelu_accurate"
    )]
    GeluNew,
    /// `x sigmoid(1.702 x)`, another approximation.
    QuickGelu,
    /// `max(x, 0)`.
    Relu,
    /// The square of ReLU.
    Relu2,
    /// `x sigmoid(x)`.
    #[serde(alias = "swish")]
    Silu,
    /// The logistic function.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// None at all.
    Linear,
}

impl Activation {
    pub(crate) fn apply<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Gelu => gelu(x),
            Self::GeluNew => gelu_tanh(x),
            Self::QuickGelu => x.clone() * activation::sigmoid(x * 1.702),
            Self::Relu => activation::relu(x),
            Self::Relu2 => activation::relu(x).square(),
            Self::Silu => activation::silu(x),
            Self::Sigmoid => activation::sigmoid(x),
            Self::Tanh => x.tanh(),
            Self::Linear => x,
        }
    }
}

/// Written with the sigmoid of `u`, `(1 + tanh(u / 2)) / 2`, which CPUs compute several times faster
/// than the tangent; the cube as products, which GPUs compute for negative numbers too.
fn gelu_tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    /// Its sigmoid is nothing beside 1, and its exponential far from infinity.
    const LOWEST: f32 = -80.0;

    let factor = 2.0 * std::f64::consts::FRAC_2_PI.sqrt();
    let square = x.clone() * x.clone();
    let u = (square * (0.044715 * factor) + factor) * x.clone();
    x * activation::sigmoid(u.clamp_min(LOWEST))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use burn::tensor::Device;
    use latent_text_nn::weights::TensorFile;

    use super::Activation;

    #[test]
    fn activations_are_those_of_transformers_under_all_their_names() {
        let folder = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap());
        let path = folder.join("tests/fixtures/mbart/activations.safetensors");
        let file = TensorFile::open(&path).unwrap();
        let values = |name: &str| file.tensor::<1>(name, &Device::default()).unwrap();
        let names = file.names();
        assert_eq!(names.len(), 16);
        for name in names.iter().filter(|name| *name != "x") {
            let activation: Activation = serde_json::from_str(&format!("\"{name}\"")).unwrap();
            let off = (activation.apply(values("x")) - values(name)).abs().max();
            let off = off.try_into_scalar::<f32>().unwrap();
            println!("{name}: {off:e}");
            assert!(off < 5e-6);
        }
    }
}
