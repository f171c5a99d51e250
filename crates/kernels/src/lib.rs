#![doc = include_str!("../README.md")]

mod attention;
mod autodiff;
#[cfg(feature = "cube")]
mod cube;
mod decoding;
mod dropout;
mod flat;
#[cfg(feature = "flex")]
mod flex;
mod gated_gelu;
mod gelu;
mod graph;
mod linear;
mod norm;
mod ops;
mod optimiser;
pub mod plain;

use burn::tensor::{DType, Device, Tensor};

pub use attention::{AttentionSettings, HIDDEN_LOGIT, cross_attention, self_attention};
pub use decoding::{Past, PastAttention, Reading, attend_to_past};
pub use dropout::{DropoutSeed, DropoutSite};
pub use flat::{Joiner, Place, Splitter};
pub use gated_gelu::gated_gelu;
pub use gelu::gelu;
pub use graph::{Graph, Mapping, Tensors};
#[cfg(feature = "cublas")]
pub use latent_text_cublas::allow_tf32;
pub use linear::{linear, linear_onto};
pub use norm::{modulated_norm, norm, norm_of_sum, rms_norm};
pub use optimiser::{AdamWState, AdamWStep, DecayRanges, adamw, global_norm};

use attention::Attention;
use dropout::DropRule;

/// Whether operations on this device, with or without autodiff, are kernels of this crate: all of them on
/// GPUs, and those in f32 on Flex.
pub fn is_fused(device: &Device) -> bool {
    Kernels::of(device) != Kernels::None
}

/// Whether operations on this tensor are kernels of this crate.
pub fn is_fused_for<const D: usize>(tensor: &Tensor<D>) -> bool {
    match Kernels::of(&tensor.device()) {
        Kernels::None => false,
        Kernels::Cube => true,
        Kernels::Flex => tensor.dtype() == DType::F32,
    }
}

/// Which kernels a device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "which of them there are depends on the features")]
enum Kernels {
    None,
    Cube,
    Flex,
}

impl Kernels {
    fn of(device: &Device) -> Self {
        #[cfg(any(feature = "cube", feature = "flex"))]
        {
            use burn::backend::DispatchDevice;

            let device = device.clone().inner();
            #[cfg(feature = "cube")]
            if matches!(device.as_dispatch(), DispatchDevice::Cube(_)) {
                return Self::Cube;
            }
            #[cfg(feature = "flex")]
            if matches!(device.as_dispatch(), DispatchDevice::Flex(_)) {
                return Self::Flex;
            }
        }
        let _ = device;
        Self::None
    }
}
