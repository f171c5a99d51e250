//! The attention of a decoder's newest tokens to what they follow, in one kernel that also keeps their
//! keys and values. How far a text has been read is on the device only, so that the same launch, recorded,
//! is right for every token.

use burn::backend::cubecl::dtype_to_elem_type;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::few_queries::{LOWEST, Sizes, product, softmax, write};
use super::{empty, empty_f32, has_planes_of_32};
use crate::decoding::PastRule;

/// From a row to the next, and from a column to the next.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
struct Strides {
    row: u32,
    column: u32,
}

#[cube(launch)]
fn past_kernel<F: Float, N: Size>(
    qkv: &Tensor<Vector<F, N>>,
    past: &mut Tensor<Vector<F, N>>,
    rows: &Tensor<i32>,
    position: &Tensor<i32>,
    bias: &Tensor<f32>,
    out: &mut Tensor<Vector<F, N>>,
    row_strides: Strides,
    bias_strides: Strides,
    capacity: u32,
    scale: f32,
    #[comptime] room: usize,
    #[comptime] units: usize,
    #[comptime] vectors: usize,
    #[comptime] biased: bool,
    #[comptime] planes: bool,
    #[define(F)] _dtype: ElemType,
) {
    let mut query = Shared::<[Vector<f32, N>]>::new_slice(vectors);
    let mut p = Shared::<[f32]>::new_slice(room);
    let mut scratch = Shared::<[f32]>::new_slice(units);
    let mut sums = Shared::<[Vector<f32, N>]>::new_slice(units);
    let unit = UNIT_POS as usize;
    let (head, text) = (CUBE_POS_X as usize * vectors, CUBE_POS_Y);
    let dim = CUBE_COUNT_X as usize * vectors;
    // Nothing is written where other texts read: that is before the newest position.
    let newest = u32::cast_from(position[0]);
    let newest_query = text as usize * 3 * dim + head;
    let newest_key = newest_query + dim;
    if unit < vectors {
        query[unit] = Vector::cast_from(qkv[newest_query + unit]) * Vector::new(scale);
        let place = (text * capacity + newest) as usize * 2 * dim + head + unit;
        past[place] = qkv[newest_key + unit];
        past[place + dim] = qkv[newest_key + dim + unit];
    }
    sync_cube();

    let first_row = text * row_strides.row;
    let bias_start = CUBE_POS_X * bias_strides.row;
    let mut largest = LOWEST.runtime();
    let mut key = UNIT_POS;
    while key < newest {
        let row = u32::cast_from(rows[(first_row + key * row_strides.column) as usize]);
        let start = (row * capacity + key) as usize * 2 * dim + head;
        let mut logit = product::<F, N>(&query, &*past, start, vectors);
        if comptime!(biased) {
            logit += bias[(bias_start + (newest - key) * bias_strides.column) as usize];
        }
        p[key as usize] = logit;
        largest = f32::max(largest, logit);
        key += comptime!(units as u32);
    }
    // The last unit has the fewest keys.
    if unit == comptime!(units - 1) {
        let mut logit = product::<F, N>(&query, qkv, newest_key, vectors);
        if comptime!(biased) {
            logit += bias[bias_start as usize];
        }
        p[newest as usize] = logit;
        largest = f32::max(largest, logit);
    }
    let factor = softmax(&mut p, &mut scratch, largest, newest + 1, units, planes);

    let groups = comptime!((units / vectors) as u32);
    let (group, column) = ((unit / vectors) as u32, unit % vectors);
    let mut sum = Vector::<f32, N>::new(0.0f32.runtime());
    let mut key = group;
    while key < newest && group < groups {
        let row = u32::cast_from(rows[(first_row + key * row_strides.column) as usize]);
        let start = (row * capacity + key) as usize * 2 * dim + dim + head;
        let value = Vector::cast_from(past[start + column]);
        sum = fma(Vector::new(p[key as usize]), value, sum);
        key += groups;
    }
    if group == comptime!(groups - 1) {
        let value = Vector::cast_from(qkv[newest_key + dim + column]);
        sum = fma(Vector::new(p[newest as usize]), value, sum);
    }
    let own = text as usize * dim + head;
    write::<F, N>(sum, factor, &mut sums, out, own, units, vectors);
}

/// What the newest tokens see, `[texts, 1, dim]`, and the past with their keys and values, which are
/// written in place.
pub(super) fn attend_to_past(
    qkv: CubeTensor,
    past: CubeTensor,
    rows: CubeTensor,
    position: CubeTensor,
    bias: Option<CubeTensor>,
    rule: PastRule,
) -> (CubeTensor, CubeTensor) {
    let [qkv, past] = [qkv, past].map(into_contiguous);
    let (texts, dim) = (qkv.meta.shape()[0], qkv.meta.shape()[2] / 3);
    let capacity = past.meta.shape()[1];
    let sizes = Sizes::new(capacity, dim / rule.heads, qkv.dtype.size());
    let client = qkv.client.clone();
    let out = empty(&qkv, [texts, 1, dim]);
    let row_strides = strides(&rows);
    let bias_strides = bias.as_ref().map_or_else(|| StridesLaunch::new(0, 0), strides);
    past_kernel::launch(
        &client,
        CubeCount::Static(rule.heads as u32, texts as u32, 1),
        CubeDim::new_1d(sizes.units as u32),
        sizes.width,
        qkv.clone().into_tensor_arg(),
        past.clone().into_tensor_arg(),
        rows.into_tensor_arg(),
        position.into_tensor_arg(),
        bias.unwrap_or_else(|| empty_f32(&qkv, [1])).into_tensor_arg(),
        out.clone().into_tensor_arg(),
        row_strides,
        bias_strides,
        capacity as u32,
        rule.scale as f32,
        sizes.room,
        sizes.units,
        sizes.vectors,
        rule.biased,
        has_planes_of_32(&client),
        dtype_to_elem_type(qkv.dtype),
    );
    (out, past)
}

fn strides(matrix: &CubeTensor) -> StridesLaunch {
    let strides = matrix.meta.strides();
    StridesLaunch::new(strides[0] as u32, strides[1] as u32)
}
