use burn::tensor::{Bool, Device, Tensor, TensorData};
use rand::{Rng, RngExt};

/// Which samples of a training batch keep their condition: each loses it with `probability` (LD4LG:
/// 0.1), independently of the others.
///
/// For sources, this is what makes the denoiser learn its null source; for classes there is
/// [`ClassLabels::drop_per_sample`](crate::ClassLabels::drop_per_sample).
pub fn kept_per_sample(
    samples: usize,
    probability: f64,
    rng: &mut (impl Rng + ?Sized),
) -> Vec<bool> {
    (0..samples).map(|_| rng.random::<f64>() >= probability).collect()
}

/// What [`kept_per_sample`] drew as a denoiser takes it, `[batch]`: where a sample has a source.
pub fn present(kept: &[bool], device: &Device) -> Tensor<1, Bool> {
    Tensor::from_data(TensorData::new(kept.to_vec(), [kept.len()]), device)
}
