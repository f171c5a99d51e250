use std::ops::Range;

use burn::backend::Dispatch;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::ops::FusedGradients;
use crate::{Kernels, plain};

/// One step of AdamW; what the letters of its paper's algorithm 2 mean, in words.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep {
    /// Decay of the first moment.
    pub beta_1: f32,
    /// Decay of the second moment.
    pub beta_2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// The learning rate.
    pub learning_rate: f64,
    /// Weight decay, times the learning rate.
    pub weight_decay: f64,
    /// Largest norm of the gradient; 0 switches clipping off.
    pub gradient_clip: f64,
    /// Decay of the running average; 0 copies.
    pub average_decay: f64,
    /// Number of this step, from 1.
    pub time: usize,
}

/// Flat vectors in f32, `[len]` each.
#[derive(Clone, Debug)]
pub struct AdamWState {
    /// The parameters.
    pub parameters: Tensor<1>,
    /// First moment of the gradient.
    pub moment_1: Tensor<1>,
    /// Second moment of the gradient.
    pub moment_2: Tensor<1>,
    /// Running average of the parameters.
    pub average: Option<Tensor<1>>,
}

/// Which elements of a flat vector weight decay acts on: ranges in ascending order, none empty.
#[derive(Clone, Debug)]
pub struct DecayRanges {
    /// First and end of each range in turn, `[2 * ranges]`.
    borders: Tensor<1, Int>,
    ranges: Vec<Range<usize>>,
}

impl DecayRanges {
    /// Ranges of a vector on `device`; neighbours that touch are joined.
    ///
    /// # Panics
    /// If a range begins before the end of the one before it, or beyond what 31 bits can count.
    pub fn new(ranges: impl IntoIterator<Item = Range<usize>>, device: &Device) -> Self {
        let mut joined: Vec<Range<usize>> = Vec::new();
        for range in ranges.into_iter().filter(|range| !range.is_empty()) {
            match joined.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                Some(last) => {
                    assert!(last.end < range.start, "ranges must be in ascending order");
                    joined.push(range);
                }
                None => joined.push(range),
            }
        }
        let borders: Vec<i32> = joined
            .iter()
            .flat_map(|range| [range.start, range.end])
            .map(|border| i32::try_from(border).expect("a vector of fewer than 2^31 elements"))
            .collect();
        let data = TensorData::new(borders.clone(), [borders.len()]);
        Self { borders: Tensor::from_data(data, (device, DType::I32)), ranges: joined }
    }

    /// The ranges, joined where they touch.
    pub fn ranges(&self) -> &[Range<usize>] {
        &self.ranges
    }

    /// 1 where weight decay acts, else 0; `[len]`.
    pub(crate) fn mask(&self, len: usize) -> Tensor<1> {
        let mut mask = vec![0.0_f32; len];
        for range in &self.ranges {
            mask[range.clone()].fill(1.0);
        }
        Tensor::from_floats(mask.as_slice(), &self.borders.device())
    }
}

/// The state after a step, for a `gradient` `[len]` in any float dtype and its global `norm` `[1]` before clipping.
///
/// AdamW of Loshchilov and Hutter, "Decoupled Weight Decay Regularization", with PyTorch's meaning of its
/// settings: the decay is scaled by the learning rate, `epsilon` added after the bias correction. One pass
/// over the vectors where the device has the kernel, which writes them in place if nobody else holds them.
pub fn adamw(
    state: AdamWState,
    gradient: Tensor<1>,
    norm: Tensor<1>,
    decayed: &DecayRanges,
    step: AdamWStep,
) -> AdamWState {
    let has_kernel = match Kernels::of(&gradient.device()) {
        Kernels::None => false,
        Kernels::Cube => !decayed.ranges.is_empty(),
        Kernels::Flex => gradient.dtype() == DType::F32,
    };
    if !has_kernel {
        return plain::adamw(state, gradient, norm, decayed, step);
    }
    let [parameters, moment_1, moment_2, gradient, norm] =
        [state.parameters, state.moment_1, state.moment_2, gradient, norm]
            .map(Tensor::into_dispatch);
    let borders = decayed.borders.clone().into_dispatch();
    match state.average {
        None => {
            let (parameters, moment_1, moment_2) =
                Dispatch::adamw(parameters, moment_1, moment_2, gradient, norm, borders, step);
            let [parameters, moment_1, moment_2] =
                [parameters, moment_1, moment_2].map(Tensor::from_dispatch);
            AdamWState { parameters, moment_1, moment_2, average: None }
        }
        Some(average) => {
            let average = average.into_dispatch();
            let (parameters, moment_1, moment_2, average) = Dispatch::adamw_with_average(
                parameters, moment_1, moment_2, average, gradient, norm, borders, step,
            );
            let [parameters, moment_1, moment_2, average] =
                [parameters, moment_1, moment_2, average].map(Tensor::from_dispatch);
            AdamWState { parameters, moment_1, moment_2, average: Some(average) }
        }
    }
}

/// The root of the sum of all squares of a vector in any float dtype, `[1]` in f32.
pub fn global_norm(x: Tensor<1>) -> Tensor<1> {
    #[cfg(feature = "flex")]
    if Kernels::of(&x.device()) == Kernels::Flex && x.dtype() == DType::F32 {
        use crate::ops::FusedNorm;

        return Tensor::from_dispatch(Dispatch::global_norm(x.into_dispatch()));
    }
    plain::global_norm(x)
}
