//! Building blocks that the networks of `latent-text` share.
//!
//! - [`linear`], [`embedding`], [`unembedding`], [`layer_norm`], [`softmax`]: the layers as the networks
//!   call them. Burn's own modules hold the parameters; these functions choose the fast and the
//!   numerically safe way to apply them.
//! - [`attention`] and [`biased_attention`] with [`hiding_bias`], [`split_heads`] and [`merge_heads`].
//! - [`PositionBuckets`]: biases of relative positions.
//! - [`weights`]: a module's parameters to and from safetensors files under PyTorch's conventions.

mod attention;
mod file;
mod joined_linear;
mod layers;
mod position_buckets;
pub mod weights;

pub use attention::{attention, biased_attention, hiding_bias, merge_heads, split_heads};
pub use file::write_atomically;
pub use joined_linear::JoinedLinear;
pub use layers::{
    cast_module, dtype_of, embedding, layer_norm, linear, linear_onto, modulated_norm, softmax,
    unembedding,
};
pub use position_buckets::PositionBuckets;
