//! What the examples share: choosing a device, and telling of errors.

use std::process::ExitCode;

use anyhow::{Result, bail};
use burn::tensor::Device;

/// A backend that an example may have been compiled with.
struct Backend {
    name: &'static str,
    device: Option<fn() -> Device>,
}

const BACKENDS: [Backend; 6] = [
    Backend {
        name: "flex",
        #[cfg(feature = "flex")]
        device: Some(Device::flex),
        #[cfg(not(feature = "flex"))]
        device: None,
    },
    Backend {
        name: "ndarray",
        #[cfg(feature = "ndarray")]
        #[allow(deprecated)] // Burn's own advice is flex; who asks for ndarray gets it.
        device: Some(Device::ndarray),
        #[cfg(not(feature = "ndarray"))]
        device: None,
    },
    Backend {
        name: "wgpu",
        #[cfg(feature = "wgpu")]
        device: Some(|| Device::wgpu(Default::default())),
        #[cfg(not(feature = "wgpu"))]
        device: None,
    },
    Backend {
        name: "vulkan",
        #[cfg(feature = "vulkan")]
        device: Some(|| Device::vulkan(Default::default())),
        #[cfg(not(feature = "vulkan"))]
        device: None,
    },
    Backend {
        name: "metal",
        #[cfg(feature = "metal")]
        device: Some(|| Device::metal(Default::default())),
        #[cfg(not(feature = "metal"))]
        device: None,
    },
    Backend {
        name: "cuda",
        #[cfg(feature = "cuda")]
        device: Some(|| Device::cuda(0)),
        #[cfg(not(feature = "cuda"))]
        device: None,
    },
];

/// The device called `name`; without a name the one in `BURN_DEVICE`, else the CPU. A GPU's kernels are kept
/// for the next run.
pub fn device(name: Option<&str>) -> Result<Device> {
    let from_environment = std::env::var("BURN_DEVICE").ok();
    let name = name.or(from_environment.as_deref()).unwrap_or("flex");
    latent_text::keep_kernels();
    match BACKENDS.iter().find(|backend| backend.name == name) {
        Some(Backend { device: Some(device), .. }) => Ok(device()),
        Some(Backend { device: None, .. }) => bail!(
            "this program was compiled without the backend `{name}`; add `--features {name}` to cargo's \
             arguments (compiled in: {})",
            names(|backend| backend.device.is_some())
        ),
        None => bail!("there is no device `{name}`; known are {}", names(|_| true)),
    }
}

fn names(wanted: impl Fn(&Backend) -> bool) -> String {
    let names: Vec<&str> =
        BACKENDS.iter().filter(|backend| wanted(backend)).map(|backend| backend.name).collect();
    names.join(", ")
}

/// Turns an error and its causes into one message on stderr and exit code 1.
pub fn report(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The text without the line ends that a half-trained model may put into it.
#[allow(dead_code)] // `train` prints no texts.
pub fn one_line(text: &str) -> String {
    text.split(['\n', '\r']).collect::<Vec<_>>().join(" ")
}
