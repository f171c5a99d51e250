//! Attention of one query at a time, a cube for each: keys and values are read once, straight from where
//! they are, and only the probabilities are in shared memory.

use burn::backend::cubecl::dtype_to_elem_type;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::client::Client;
use cubecl::prelude::*;

use super::attention::{BiasStrides, Operands};
use super::{empty, empty_f32, has_planes_of_32, width_of_vectors};
use crate::Attention;

/// Below all logits.
pub(super) const LOWEST: f32 = f32::MIN;
/// Units of a plane.
const PLANE: usize = 32;
/// The most keys that probabilities are kept of.
const MOST_KEYS: usize = 8192;
/// Heads have a multiple of so many numbers, up to the most that the units of a cube have a vector each
/// of.
const MULTIPLE: usize = 4;
const MOST_NUMBERS: usize = 256;

/// Sum over all units, or the largest value of any.
#[cube]
fn over_units(
    value: f32,
    scratch: &mut Shared<[f32]>,
    #[comptime] largest: bool,
    #[comptime] units: usize,
    #[comptime] planes: bool,
) -> f32 {
    let unit = UNIT_POS as usize;
    if comptime!(planes) {
        scratch[unit / PLANE] =
            if comptime!(largest) { plane_max(value) } else { plane_sum(value) };
        sync_cube();
        let mut result = scratch[0];
        #[unroll]
        for plane in 1..comptime!(units / PLANE) {
            result = joined(result, scratch[plane], largest);
        }
        sync_cube();
        result
    } else {
        scratch[unit] = value;
        sync_cube();
        #[unroll]
        for step in 0..comptime!(units.trailing_zeros() as usize) {
            let half = comptime!(units >> (step + 1));
            if unit < half {
                scratch[unit] = joined(scratch[unit], scratch[unit + half], largest);
            }
            sync_cube();
        }
        let result = scratch[0];
        sync_cube();
        result
    }
}

#[cube]
fn joined(a: f32, b: f32, #[comptime] largest: bool) -> f32 {
    if comptime!(largest) { f32::max(a, b) } else { a + b }
}

/// The product of the query with the key whose vectors begin at `start`.
#[cube]
pub(super) fn product<F: Float, N: Size>(
    query: &Shared<[Vector<f32, N>]>,
    keys: &Tensor<Vector<F, N>>,
    start: usize,
    #[comptime] vectors: usize,
) -> f32 {
    let mut sum = Vector::<f32, N>::new(0.0f32);
    #[unroll]
    for column in 0..vectors {
        sum = fma(query[column], Vector::cast_from(keys[start + column]), sum);
    }
    Vector::vector_sum(sum)
}

/// Turns `count` logits into probabilities but for a factor, which is given back; `largest` is the largest
/// of those that this unit has computed.
#[cube]
pub(super) fn softmax(
    p: &mut Shared<[f32]>,
    scratch: &mut Shared<[f32]>,
    largest: f32,
    count: u32,
    #[comptime] units: usize,
    #[comptime] planes: bool,
) -> f32 {
    let maximum = over_units(largest, scratch, true, units, planes);
    let mut sum = 0.0f32.runtime();
    let mut key = UNIT_POS;
    while key < count {
        let value = f32::exp(p[key as usize] - maximum);
        p[key as usize] = value;
        sum += value;
        key += comptime!(units as u32);
    }
    1.0f32 / over_units(sum, scratch, false, units, planes)
}

/// Adds up what groups of units have summed of the values, to a head's vectors from `start` on.
#[cube]
pub(super) fn write<F: Float, N: Size>(
    sum: Vector<f32, N>,
    factor: f32,
    sums: &mut Shared<[Vector<f32, N>]>,
    out: &mut Tensor<Vector<F, N>>,
    start: usize,
    #[comptime] units: usize,
    #[comptime] vectors: usize,
) {
    let unit = UNIT_POS as usize;
    sums[unit] = sum;
    sync_cube();
    if unit < vectors {
        let mut whole = sums[unit];
        #[unroll]
        for group in 1..comptime!(units / vectors) {
            whole += sums[group * vectors + unit];
        }
        out[start + unit] = Vector::cast_from(whole * Vector::new(factor));
    }
}

#[cube(launch)]
fn few_queries_kernel<F: Float, N: Size>(
    queries: &Tensor<Vector<F, N>>,
    keys_values: &Tensor<Vector<F, N>>,
    bias: &Tensor<f32>,
    out: &mut Tensor<Vector<F, N>>,
    strides: BiasStrides,
    keys: u32,
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
    let dim = CUBE_COUNT_X as usize * vectors;
    let own =
        (CUBE_POS_Y * CUBE_COUNT_Z + CUBE_POS_Z) as usize * dim + CUBE_POS_X as usize * vectors;
    if unit < vectors {
        query[unit] = Vector::cast_from(queries[own + unit]) * Vector::new(scale);
    }
    sync_cube();

    let first = (CUBE_POS_Y * keys) as usize * 2 * dim + CUBE_POS_X as usize * vectors;
    let bias_start =
        CUBE_POS_Y * strides.sample + CUBE_POS_X * strides.head + CUBE_POS_Z * strides.query;
    let mut largest = LOWEST.runtime();
    let mut key = UNIT_POS;
    while key < keys {
        let start = first + key as usize * 2 * dim;
        let mut logit = product::<F, N>(&query, keys_values, start, vectors);
        if comptime!(biased) {
            logit += bias[(bias_start + key * strides.key) as usize];
        }
        p[key as usize] = logit;
        largest = f32::max(largest, logit);
        key += comptime!(units as u32);
    }
    let factor = softmax(&mut p, &mut scratch, largest, keys, units, planes);

    let groups = comptime!(units / vectors);
    let (group, column) = (unit / vectors, unit % vectors);
    let mut sum = Vector::<f32, N>::new(0.0f32.runtime());
    let mut key = group;
    while key < keys as usize && group < groups {
        let value = Vector::cast_from(keys_values[first + (2 * key + 1) * dim + column]);
        sum = fma(Vector::new(p[key]), value, sum);
        key += groups;
    }
    write::<F, N>(sum, factor, &mut sums, out, own, units, vectors);
}

/// `[batch, queries, dim]`, without dropout.
pub(super) fn attention(operands: Operands, attention: Attention) -> CubeTensor {
    let query = into_contiguous(operands.query);
    let Some(key) = operands.key.map(into_contiguous) else {
        unreachable!("cross-attention has keys of its own")
    };
    let shape = query.meta.shape().clone();
    let (batch, queries, dim) = (shape[0], shape[1], shape[2]);
    let keys = key.meta.shape()[1];
    let sizes = Sizes::new(keys, dim / attention.heads, query.dtype.size());
    let client = query.client.clone();
    let out = empty(&query, shape);
    let strides = BiasStrides::of(operands.bias.as_ref());
    few_queries_kernel::launch(
        &client,
        CubeCount::Static(attention.heads as u32, batch as u32, queries as u32),
        CubeDim::new_1d(sizes.units as u32),
        sizes.width,
        query.clone().into_tensor_arg(),
        key.into_tensor_arg(),
        operands.bias.unwrap_or_else(|| empty_f32(&query, [1])).into_tensor_arg(),
        out.clone().into_tensor_arg(),
        strides.argument(),
        keys as u32,
        attention.scale as f32,
        sizes.room,
        sizes.units,
        sizes.vectors,
        attention.biased,
        has_planes_of_32(&client),
        dtype_to_elem_type(query.dtype),
    );
    out
}

/// How a query's attention is divided among units.
pub(super) struct Sizes {
    /// Probabilities that there is room for; a power of two, so that there are few kernels.
    pub(super) room: usize,
    /// Of a cube.
    pub(super) units: usize,
    /// Elements of a vector.
    pub(super) width: usize,
    /// Of a head.
    pub(super) vectors: usize,
}

impl Sizes {
    pub(super) fn new(keys: usize, head_dim: usize, element: usize) -> Self {
        /// With so many keys, half the units of a cube have none.
        const FEW: usize = 64;

        let room = keys.next_power_of_two().max(FEW);
        let units = if keys <= FEW { FEW } else { 2 * FEW };
        let width = width_of_vectors(head_dim, element);
        Self { room, units, width, vectors: head_dim / width }
    }

    /// Shared memory in bytes.
    fn shared_memory(&self) -> usize {
        let vectors = self.vectors + self.units;
        (self.room + self.units + vectors * self.width) * size_of::<f32>()
    }
}

/// Whether the kernels know heads of this size and so many keys; `element` is the size of a number in
/// bytes.
pub(crate) fn fits(client: &Client, keys: usize, head_dim: usize, element: usize) -> bool {
    let available = client.properties().hardware.max_shared_memory_size;
    head_dim.is_multiple_of(MULTIPLE)
        && (MULTIPLE..=MOST_NUMBERS).contains(&head_dim)
        && (1..=MOST_KEYS).contains(&keys)
        && Sizes::new(keys, head_dim, element).shared_memory() <= available
}
