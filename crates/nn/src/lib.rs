//! Building blocks that the networks of `latent-text` share.
//!
//! - [`linear`], [`embedding`], [`unembedding`], [`layer_norm`], [`softmax`]: the layers as the networks
//!   call them. Burn's own modules hold the parameters; these functions choose the fast and the
//!   numerically safe way to apply them.
//! - [`Attention`] with [`hiding_bias`].
//! - [`PositionBuckets`]: biases of relative positions.
//! - [`weights`]: a module's parameters to and from safetensors files under PyTorch's conventions.

mod attention;
mod file;
mod joined_linear;
mod layers;
mod position_buckets;
pub mod weights;

pub use attention::{Attention, hiding_bias};
pub use file::write_atomically;
pub use joined_linear::JoinedLinear;
#[cfg(feature = "cublas")]
pub use latent_text_kernels::allow_tf32;
pub use layers::{
    cast_module, dtype_of, embedding, layer_norm, linear, linear_onto, modulated_norm, norm_of_sum,
    softmax, unembedding,
};
pub use position_buckets::PositionBuckets;
