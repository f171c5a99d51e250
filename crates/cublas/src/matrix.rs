use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use crate::layout::Layout;

/// A matrix that cuBLASLt can read.
pub(crate) struct Matrix {
    pub(crate) tensor: CubeTensor,
    pub(crate) layout: Layout,
}

impl Matrix {
    /// The tensor, which has two dimensions, as it is if its rows or its columns lie together in memory,
    /// else a copy of it.
    pub(crate) fn of(tensor: CubeTensor) -> Self {
        let [rows, columns] = two(tensor.meta.shape());
        match Layout::of([rows, columns], two(tensor.meta.strides())) {
            Some(layout) => Self { tensor, layout },
            None => Self { tensor: into_contiguous(tensor), layout: Layout::contiguous(columns) },
        }
    }

    pub(crate) fn shape(&self) -> [u64; 2] {
        two(self.tensor.meta.shape()).map(|size| size as u64)
    }
}

fn two(sizes: &[usize]) -> [usize; 2] {
    [sizes[0], sizes[1]]
}
