use burn::tensor::{Bool, Device, Tensor, TensorData};

/// Values in [-1, 1) that look random and depend on `seed` only.
pub fn noise<const D: usize>(seed: usize, shape: [usize; D], device: &Device) -> Tensor<D> {
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|index| {
            let hash = ((seed * 1_000_003 + index + 1) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            ((hash >> 40) as f32 / (1 << 23) as f32) - 1.0
        })
        .collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The values in row-major order, whatever float they are.
pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as::<f32>().expect("a float tensor")
}

/// The largest absolute difference of two tensors of one shape.
///
/// # Panics
/// If the shapes differ, or a difference is not finite.
#[track_caller]
pub fn distance<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
    assert_eq!(a.dims(), b.dims());
    let (a, b) = (values(a), values(b));
    a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, |most, next| {
        assert!(next.is_finite());
        f32::max(most, next)
    })
}

/// `states` with zeros where `mask` has padding, which nothing ever looks at.
pub fn without_padding(states: Tensor<3>, mask: Tensor<2, Bool>) -> Tensor<3> {
    let padding = mask.bool_not().unsqueeze_dim::<3>(2).expand(states.dims());
    states.mask_fill(padding, 0.0)
}
