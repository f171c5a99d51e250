//! Matrix products of Burn's CUDA tensors by cuBLASLt, which is loaded at run time.
//!
//! `product` and `product_with_sum` put the work on the stream of their operands, in order with
//! CubeCL's kernels and without waiting; both can be recorded into a CUDA graph. Where there is no such
//! library, or for a dtype, layout or device that it has no use for, they answer with none and the caller
//! takes Burn's own product. Without the feature `cuda` the crate is empty.
//!
//! Products of f32 are computed in f32, or in TF32 once `allow_tf32` allows it; those of bf16 and f16 are
//! summed in f32.

#[cfg(any(feature = "cuda", test))]
mod layout;
#[cfg(feature = "cuda")]
mod lt;
#[cfg(feature = "cuda")]
mod matrix;
#[cfg(feature = "cuda")]
mod product;
#[cfg(feature = "cuda")]
mod refusal;
#[cfg(feature = "cuda")]
mod tf32;

#[cfg(feature = "cuda")]
pub use product::{product, product_with_sum};
#[cfg(feature = "cuda")]
pub use tf32::allow_tf32;
