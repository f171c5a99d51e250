//! Tensors go through memory one at a time, on the way in and on the way out.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, FloatDType};
use latent_text_nn::weights;

/// Counts what all threads hold, and the most that they held.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it is; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(held, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The result and the bytes that getting it took at the worst moment.
fn counted<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let result = work();
    (result, MOST.load(Ordering::Relaxed).saturating_sub(before))
}

const LAYERS: usize = 40;
const WIDTH: usize = 512;
const LAYER_BYTES: usize = WIDTH * WIDTH * 4;

fn layers(device: &Device) -> Vec<Linear> {
    (0..LAYERS).map(|_| LinearConfig::new(WIDTH, WIDTH).with_bias(false).init(device)).collect()
}

#[test]
fn loading_and_saving_take_little_more_than_the_weights() {
    let device = Device::default();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("layers.safetensors");
    let same = |name: &str| name.to_string();
    weights::save(&layers(&device), &path, FloatDType::F32, &same).unwrap();

    let (module, most) = counted(|| weights::load(layers(&device), &path, &same).unwrap());
    println!("loading: {most} bytes for {}", LAYERS * LAYER_BYTES);
    assert!(most as f64 <= 1.1 * (LAYERS * LAYER_BYTES) as f64, "{most}");

    let (_, most) = counted(|| weights::save(&module, &path, FloatDType::F32, &same).unwrap());
    println!("saving: {most} bytes");
    assert!(most <= 5 * LAYER_BYTES, "{most}");
}
