//! What the device's allocator holds.

use burn::tensor::Device;

const GIB: f64 = (1u64 << 30) as f64;

/// The memory that is reserved, at least the peak of what was in use since it was last given back.
pub fn describe(device: &Device) -> String {
    match device.memory_pool_usage() {
        None => "the backend does not report it".to_string(),
        Some(usage) => format!(
            "{:.2} GiB reserved, {:.2} GiB in use between steps",
            usage.bytes_reserved as f64 / GIB,
            usage.bytes_in_use as f64 / GIB
        ),
    }
}
