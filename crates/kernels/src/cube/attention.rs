//! Attention of few positions in one kernel: a cube for each head of a sample, its keys, values and
//! probabilities in shared memory. The backward pass computes the probabilities again.

use burn::backend::cubecl::dtype_to_elem_type;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::dropout::{is_kept, seed_of};
use super::{empty, empty_f32};
use crate::Attention;

const UNITS: usize = 128;
/// Elements of a vector.
const WIDTH: usize = 4;
/// Queries that a cube works on at a time; keys are padded to a multiple of it.
const TILE: usize = 32;
/// Units that share a row of probabilities.
const SHARE: usize = UNITS / TILE;
const HIDDEN: f32 = -3.0e38;

/// Where a tensor `[batch, length, ..]` has the vectors of a head.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
struct Rows {
    length: u32,
    /// From a position to the next, in vectors.
    stride: u32,
    /// Of the first head within a position, in vectors.
    offset: u32,
}

/// Strides of a bias `[batch, heads, queries, keys]`, 0 where it is broadcast.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(super) struct BiasStrides {
    pub(super) sample: u32,
    pub(super) head: u32,
    pub(super) query: u32,
    pub(super) key: u32,
}

#[derive(CubeType, CubeLaunch, Clone, Copy)]
struct Dropping {
    salt: u32,
    threshold: u32,
    scale: f32,
}

/// Copies rows from `first` on into shared memory, zeros behind the last one.
#[cube]
fn load<F: Float, N: Size>(
    from: &Tensor<Vector<F, N>>,
    to: &mut Shared<[Vector<F, N>]>,
    rows: &Rows,
    first: u32,
    #[comptime] count: usize,
    #[comptime] vectors: usize,
) {
    let mut index = UNIT_POS as usize;
    let start = CUBE_POS_Y * rows.length * rows.stride + rows.offset + CUBE_POS_X * vectors as u32;
    while index < count * vectors {
        let (row, column) = (index / vectors, index % vectors);
        let position = first + row as u32;
        let mut value = Vector::<F, N>::new(F::new(0.0f32));
        if position < rows.length {
            value = from[(start + position * rows.stride) as usize + column];
        }
        to[row * (vectors + 1) + column] = value;
        index += UNITS;
    }
}

/// Products of each of the tile's rows of `a` with each row of `b`, `[TILE, keys]`.
#[cube]
fn products<F: Float, N: Size>(
    a: &Shared<[Vector<F, N>]>,
    b: &Shared<[Vector<F, N>]>,
    out: &mut Shared<[f32]>,
    #[comptime] keys: usize,
    #[comptime] vectors: usize,
) {
    let lane = UNIT_POS as usize % TILE;
    let first = UNIT_POS as usize / TILE * comptime!(TILE / SHARE);
    #[unroll]
    for block in 0..comptime!(keys / TILE) {
        let key = block * TILE + lane;
        let mut sums = Array::<Vector<f32, N>>::new(comptime!(TILE / SHARE));
        #[unroll]
        for r in 0..comptime!(TILE / SHARE) {
            sums[r] = Vector::new(0.0f32);
        }
        for column in 0..vectors {
            let right = Vector::<f32, N>::cast_from(b[key * (vectors + 1) + column]);
            #[unroll]
            for r in 0..comptime!(TILE / SHARE) {
                let left = Vector::<f32, N>::cast_from(a[(first + r) * (vectors + 1) + column]);
                sums[r] = fma(left, right, sums[r]);
            }
        }
        #[unroll]
        for r in 0..comptime!(TILE / SHARE) {
            out[(first + r) * (keys + 1) + key] = Vector::vector_sum(sums[r]);
        }
    }
}

/// Turns products into logits and these into probabilities, in place.
#[cube]
fn softmax(
    p: &mut Shared<[f32]>,
    scratch: &mut Shared<[f32]>,
    bias: &Tensor<f32>,
    strides: &BiasStrides,
    first_query: u32,
    queries: u32,
    real_keys: u32,
    scale: f32,
    #[comptime] keys: usize,
    #[comptime] biased: bool,
) {
    let (row, part) = (UNIT_POS as usize / SHARE, UNIT_POS as usize % SHARE);
    let start = row * (keys + 1);
    // Rows behind the last query are computed and not used.
    let query = u32::min(first_query + row as u32, queries - 1);
    let bias_start =
        CUBE_POS_Y * strides.sample + CUBE_POS_X * strides.head + query * strides.query;
    let mut largest = HIDDEN.runtime();
    for i in 0..comptime!(keys / SHARE) {
        let key = i * SHARE + part;
        let mut logit = p[start + key] * scale;
        if key as u32 >= real_keys {
            logit = HIDDEN.runtime();
        } else if comptime!(biased) {
            logit += bias[(bias_start + key as u32 * strides.key) as usize];
        }
        p[start + key] = logit;
        largest = f32::max(largest, logit);
    }
    scratch[UNIT_POS as usize] = largest;
    sync_cube();
    let mut maximum = HIDDEN.runtime();
    #[unroll]
    for i in 0..SHARE {
        maximum = f32::max(maximum, scratch[row * SHARE + i]);
    }
    sync_cube();
    let mut sum = 0.0f32;
    for i in 0..comptime!(keys / SHARE) {
        let key = i * SHARE + part;
        let mut value = 0.0f32;
        if (key as u32) < real_keys {
            value = f32::exp(p[start + key] - maximum);
        }
        p[start + key] = value;
        sum += value;
    }
    let total = shared_sum(sum, scratch);
    for i in 0..comptime!(keys / SHARE) {
        p[start + i * SHARE + part] /= total;
    }
}

/// Sum over the units that share a row.
#[cube]
fn shared_sum(value: f32, scratch: &mut Shared<[f32]>) -> f32 {
    let row = UNIT_POS as usize / SHARE;
    scratch[UNIT_POS as usize] = value;
    sync_cube();
    let mut sum = 0.0f32;
    #[unroll]
    for i in 0..SHARE {
        sum += scratch[row * SHARE + i];
    }
    sync_cube();
    sum
}

/// What a probability is multiplied with.
#[cube]
fn kept(query: u32, key: u32, queries: u32, keys: u32, start: u32, dropping: &Dropping) -> f32 {
    let row = (CUBE_POS_Y * CUBE_COUNT_X + CUBE_POS_X) * queries + query;
    let keep = is_kept(row * keys + key, start, dropping.threshold);
    select(keep, dropping.scale, 0.0f32)
}

/// Sums over keys of probabilities times rows of `b`: vector `column` of row `row` of the result.
#[cube]
fn weighted<F: Float, N: Size>(
    p: &Shared<[f32]>,
    b: &Shared<[Vector<F, N>]>,
    sums: &mut Array<Vector<f32, N>>,
    real_keys: u32,
    first: usize,
    column: usize,
    #[comptime] count: usize,
    #[comptime] keys: usize,
    #[comptime] vectors: usize,
) {
    #[unroll]
    for r in 0..count {
        sums[r] = Vector::new(0.0f32);
    }
    for key in 0..real_keys as usize {
        let value = Vector::<f32, N>::cast_from(b[key * (vectors + 1) + column]);
        #[unroll]
        for r in 0..count {
            let weight = Vector::<f32, N>::new(p[(first + r) * (keys + 1) + key]);
            sums[r] = fma(weight, value, sums[r]);
        }
    }
}

#[cube(launch)]
fn attention_kernel<F: Float, N: Size>(
    query_tensor: &Tensor<Vector<F, N>>,
    key_tensor: &Tensor<Vector<F, N>>,
    bias: &Tensor<f32>,
    seed: &Tensor<f32>,
    out: &mut Tensor<Vector<F, N>>,
    queries: Rows,
    key_rows: Rows,
    value_rows: Rows,
    strides: BiasStrides,
    dropping: Dropping,
    scale: f32,
    #[comptime] keys: usize,
    #[comptime] vectors: usize,
    #[comptime] biased: bool,
    #[comptime] drops: bool,
    #[define(F)] _dtype: ElemType,
) {
    let mut q = Shared::<[Vector<F, N>]>::new_slice(comptime!(TILE * (vectors + 1)));
    let mut k = Shared::<[Vector<F, N>]>::new_slice(comptime!(keys * (vectors + 1)));
    let mut v = Shared::<[Vector<F, N>]>::new_slice(comptime!(keys * (vectors + 1)));
    let mut p = Shared::<[f32]>::new_slice(comptime!(TILE * (keys + 1)));
    let mut scratch = Shared::<[f32]>::new_slice(UNITS);
    let first_query = CUBE_POS_Z * TILE as u32;
    load::<F, N>(query_tensor, &mut q, &queries, first_query, TILE, vectors);
    load::<F, N>(key_tensor, &mut k, &key_rows, 0u32, keys, vectors);
    load::<F, N>(key_tensor, &mut v, &value_rows, 0u32, keys, vectors);
    sync_cube();
    products::<F, N>(&q, &k, &mut p, keys, vectors);
    sync_cube();
    softmax(
        &mut p,
        &mut scratch,
        bias,
        &strides,
        first_query,
        queries.length,
        key_rows.length,
        scale,
        keys,
        biased,
    );
    if comptime!(drops) {
        let start = seed_of(seed[0], dropping.salt);
        let (row, part) = (UNIT_POS as usize / SHARE, UNIT_POS as usize % SHARE);
        for i in 0..comptime!(keys / SHARE) {
            let key = i * SHARE + part;
            let query = first_query + row as u32;
            p[row * (keys + 1) + key] *=
                kept(query, key as u32, queries.length, key_rows.length, start, &dropping);
        }
    }
    sync_cube();
    let column = UNIT_POS as usize % vectors;
    let group = UNIT_POS as usize / vectors;
    let count = comptime!(TILE * vectors / UNITS);
    let mut sums = Array::<Vector<f32, N>>::new(count);
    let length = key_rows.length;
    weighted::<F, N>(&p, &v, &mut sums, length, group * count, column, count, keys, vectors);
    #[unroll]
    for r in 0..count {
        let query = first_query + (group * count + r) as u32;
        if query < queries.length {
            let place = (CUBE_POS_Y * queries.length + query) * CUBE_COUNT_X + CUBE_POS_X;
            out[place as usize * vectors + column] = Vector::cast_from(sums[r]);
        }
    }
}

#[cube(launch)]
fn attention_gradients_kernel<F: Float, N: Size>(
    query_tensor: &Tensor<Vector<F, N>>,
    key_tensor: &Tensor<Vector<F, N>>,
    bias: &Tensor<f32>,
    seed: &Tensor<f32>,
    dout: &Tensor<Vector<F, N>>,
    dquery: &mut Tensor<Vector<F, N>>,
    dkey: &mut Tensor<Vector<F, N>>,
    queries: Rows,
    key_rows: Rows,
    value_rows: Rows,
    out_rows: Rows,
    strides: BiasStrides,
    dropping: Dropping,
    scale: f32,
    #[comptime] keys: usize,
    #[comptime] vectors: usize,
    #[comptime] biased: bool,
    #[comptime] drops: bool,
    #[comptime] fused: bool,
    #[define(F)] _dtype: ElemType,
) {
    let mut q = Shared::<[Vector<F, N>]>::new_slice(comptime!(TILE * (vectors + 1)));
    let mut d = Shared::<[Vector<F, N>]>::new_slice(comptime!(TILE * (vectors + 1)));
    let mut k = Shared::<[Vector<F, N>]>::new_slice(comptime!(keys * (vectors + 1)));
    let mut v = Shared::<[Vector<F, N>]>::new_slice(comptime!(keys * (vectors + 1)));
    let mut p = Shared::<[f32]>::new_slice(comptime!(TILE * (keys + 1)));
    let mut dp = Shared::<[f32]>::new_slice(comptime!(TILE * (keys + 1)));
    let mut scratch = Shared::<[f32]>::new_slice(UNITS);
    load::<F, N>(key_tensor, &mut k, &key_rows, 0u32, keys, vectors);
    load::<F, N>(key_tensor, &mut v, &value_rows, 0u32, keys, vectors);

    let unit = UNIT_POS as usize;
    let (column, group) = (unit % vectors, unit / vectors);
    let key_count = comptime!(keys * vectors / UNITS);
    let mut dk = Array::<Vector<f32, N>>::new(key_count);
    let mut dv = Array::<Vector<f32, N>>::new(key_count);
    #[unroll]
    for r in 0..key_count {
        dk[r] = Vector::new(0.0f32);
        dv[r] = Vector::new(0.0f32);
    }
    let count = comptime!(TILE * vectors / UNITS);
    let mut sums = Array::<Vector<f32, N>>::new(count);
    let tiles = queries.length.div_ceil(TILE as u32);
    for tile in 0..tiles {
        let first_query = tile * TILE as u32;
        load::<F, N>(query_tensor, &mut q, &queries, first_query, TILE, vectors);
        load::<F, N>(dout, &mut d, &out_rows, first_query, TILE, vectors);
        sync_cube();
        products::<F, N>(&q, &k, &mut p, keys, vectors);
        products::<F, N>(&d, &v, &mut dp, keys, vectors);
        sync_cube();
        softmax(
            &mut p,
            &mut scratch,
            bias,
            &strides,
            first_query,
            queries.length,
            key_rows.length,
            scale,
            keys,
            biased,
        );
        let (row, part) = (unit / SHARE, unit % SHARE);
        let place = row * (keys + 1);
        let start = seed_of(seed[0], dropping.salt);
        let query = first_query + row as u32;
        let mut dot = 0.0f32;
        for i in 0..comptime!(keys / SHARE) {
            let key = i * SHARE + part;
            if comptime!(drops) {
                let factor =
                    kept(query, key as u32, queries.length, key_rows.length, start, &dropping);
                dp[place + key] *= factor;
            }
            dot += p[place + key] * dp[place + key];
        }
        let dot = shared_sum(dot, &mut scratch);
        for i in 0..comptime!(keys / SHARE) {
            let key = i * SHARE + part;
            let probability = p[place + key];
            dp[place + key] = probability * (dp[place + key] - dot) * scale;
            if comptime!(drops) {
                let factor =
                    kept(query, key as u32, queries.length, key_rows.length, start, &dropping);
                p[place + key] = probability * factor;
            }
        }
        sync_cube();
        // Rows behind the last query have a gradient of zero, and so add nothing.
        for i in 0..TILE {
            let dout_row = Vector::<f32, N>::cast_from(d[i * (vectors + 1) + column]);
            let query_row = Vector::<f32, N>::cast_from(q[i * (vectors + 1) + column]);
            #[unroll]
            for r in 0..key_count {
                let key = group * key_count + r;
                dv[r] = fma(Vector::new(p[i * (keys + 1) + key]), dout_row, dv[r]);
                dk[r] = fma(Vector::new(dp[i * (keys + 1) + key]), query_row, dk[r]);
            }
        }
        let length = key_rows.length;
        weighted::<F, N>(&dp, &k, &mut sums, length, group * count, column, count, keys, vectors);
        #[unroll]
        for r in 0..count {
            let query = first_query + (group * count + r) as u32;
            if query < queries.length {
                let start = CUBE_POS_Y * queries.length * queries.stride + queries.offset;
                let place = start + query * queries.stride + CUBE_POS_X * vectors as u32;
                let value = Vector::cast_from(sums[r]);
                if comptime!(fused) {
                    dkey[place as usize + column] = value;
                } else {
                    dquery[place as usize + column] = value;
                }
            }
        }
        sync_cube();
    }
    #[unroll]
    for r in 0..key_count {
        let key = (group * key_count + r) as u32;
        if key < key_rows.length {
            let start = (CUBE_POS_Y * key_rows.length + key) * key_rows.stride;
            let head = CUBE_POS_X * vectors as u32;
            dkey[(start + key_rows.offset + head) as usize + column] = Vector::cast_from(dk[r]);
            dkey[(start + value_rows.offset + head) as usize + column] = Vector::cast_from(dv[r]);
        }
    }
}

/// The operands of an attention.
pub(super) struct Operands {
    /// `[batch, queries, dim]`; in self-attention `[batch, queries, 3 * dim]`, keys and values behind
    /// the queries.
    pub(super) query: CubeTensor,
    /// `[batch, keys, 2 * dim]`, the values behind the keys; none in self-attention.
    pub(super) key: Option<CubeTensor>,
    /// `[batch or 1, heads or 1, queries or 1, keys or 1]`, f32
    pub(super) bias: Option<CubeTensor>,
    /// `[1]`, f32
    pub(super) seed: Option<CubeTensor>,
}

/// How operands are laid out.
struct Layout {
    batch: usize,
    queries: Rows,
    keys: Rows,
    values: Rows,
    bias: BiasStrides,
    padded_keys: usize,
    /// Of a head.
    vectors: usize,
    dim: usize,
}

impl Layout {
    fn of(operands: &Operands, attention: &Attention) -> Self {
        let shape = operands.query.meta.shape();
        let (batch, length, width) = (shape[0], shape[1], shape[2]);
        let rows = |length: usize, width: usize, offset: usize| Rows {
            length: length as u32,
            stride: (width / WIDTH) as u32,
            offset: (offset / WIDTH) as u32,
        };
        let (dim, queries, keys, values) = match &operands.key {
            None => {
                let dim = width / 3;
                let part = |offset: usize| rows(length, width, offset);
                (dim, part(0), part(dim), part(2 * dim))
            }
            Some(key) => {
                let part = |offset: usize| rows(key.meta.shape()[1], 2 * width, offset);
                (width, rows(length, width, 0), part(0), part(width))
            }
        };
        Self {
            batch,
            queries,
            keys,
            values,
            bias: BiasStrides::of(operands.bias.as_ref()),
            padded_keys: (keys.length as usize).next_multiple_of(TILE),
            vectors: dim / attention.heads / WIDTH,
            dim,
        }
    }
}

impl Rows {
    fn argument(self) -> RowsLaunch {
        RowsLaunch::new(self.length, self.stride, self.offset)
    }
}

impl BiasStrides {
    pub(super) fn of(bias: Option<&CubeTensor>) -> Self {
        let [sample, head, query, key] = bias.map_or([0; 4], |bias| {
            let (shape, strides) = (bias.meta.shape(), bias.meta.strides());
            std::array::from_fn(|i| if shape[i] == 1 { 0 } else { strides[i] as u32 })
        });
        Self { sample, head, query, key }
    }

    pub(super) fn argument(self) -> BiasStridesLaunch {
        BiasStridesLaunch::new(self.sample, self.head, self.query, self.key)
    }
}

fn dropping(attention: &Attention) -> DroppingLaunch {
    let drop = attention.drop;
    DroppingLaunch::new(drop.salt, drop.threshold(), drop.scale())
}

fn contiguous(operands: Operands) -> Operands {
    Operands {
        query: into_contiguous(operands.query),
        key: operands.key.map(into_contiguous),
        ..operands
    }
}

/// `[batch, queries, dim]`
pub(super) fn attention(operands: Operands, attention: Attention) -> CubeTensor {
    let operands = contiguous(operands);
    let layout = Layout::of(&operands, &attention);
    let query = operands.query;
    let client = query.client.clone();
    let out = empty(&query, [layout.batch, layout.queries.length as usize, layout.dim]);
    let key = operands.key.unwrap_or_else(|| query.clone());
    let biased = operands.bias.is_some();
    let (bias, seed) = (
        operands.bias.unwrap_or_else(|| empty_f32(&query, [1])),
        operands.seed.unwrap_or_else(|| empty_f32(&query, [1])),
    );
    let tiles = layout.queries.length.div_ceil(TILE as u32);
    attention_kernel::launch(
        &client,
        CubeCount::Static(attention.heads as u32, layout.batch as u32, tiles),
        CubeDim::new_1d(UNITS as u32),
        WIDTH,
        query.clone().into_tensor_arg(),
        key.into_tensor_arg(),
        bias.into_tensor_arg(),
        seed.into_tensor_arg(),
        out.clone().into_tensor_arg(),
        layout.queries.argument(),
        layout.keys.argument(),
        layout.values.argument(),
        layout.bias.argument(),
        dropping(&attention),
        attention.scale as f32,
        layout.padded_keys,
        layout.vectors,
        biased,
        attention.drop.drops(),
        dtype_to_elem_type(query.dtype),
    );
    out
}

/// The gradients of queries (none in self-attention, where they are part of the other) and of keys and
/// values, in the operands' shapes. The bias gets none.
pub(super) fn attention_gradients(
    operands: Operands,
    dout: CubeTensor,
    attention: Attention,
) -> (Option<CubeTensor>, CubeTensor) {
    let operands = contiguous(operands);
    let dout = into_contiguous(dout);
    let layout = Layout::of(&operands, &attention);
    let query = operands.query;
    let client = query.client.clone();
    let like = |tensor: &CubeTensor| empty(tensor, tensor.meta.shape().clone());
    let fused = operands.key.is_none();
    let key = operands.key.unwrap_or_else(|| query.clone());
    let dquery = (!fused).then(|| like(&query));
    let dkey = like(&key);
    let biased = operands.bias.is_some();
    let (bias, seed) = (
        operands.bias.unwrap_or_else(|| empty_f32(&query, [1])),
        operands.seed.unwrap_or_else(|| empty_f32(&query, [1])),
    );
    let vectors = (layout.dim / WIDTH) as u32;
    let out_rows = Rows { length: layout.queries.length, stride: vectors, offset: 0 };
    // In self-attention nothing is written there, but the type must be right.
    let unused = || empty(&query, [WIDTH]);
    attention_gradients_kernel::launch(
        &client,
        CubeCount::Static(attention.heads as u32, layout.batch as u32, 1),
        CubeDim::new_1d(UNITS as u32),
        WIDTH,
        query.clone().into_tensor_arg(),
        key.into_tensor_arg(),
        bias.into_tensor_arg(),
        seed.into_tensor_arg(),
        dout.into_tensor_arg(),
        dquery.clone().unwrap_or_else(unused).into_tensor_arg(),
        dkey.clone().into_tensor_arg(),
        layout.queries.argument(),
        layout.keys.argument(),
        layout.values.argument(),
        out_rows.argument(),
        layout.bias.argument(),
        dropping(&attention),
        attention.scale as f32,
        layout.padded_keys,
        layout.vectors,
        biased,
        attention.drop.drops(),
        fused,
        dtype_to_elem_type(query.dtype),
    );
    (dquery, dkey)
}

/// Whether the kernels can do this attention with a device's shared memory; `element` is the size of a
/// number in bytes.
pub(crate) fn fits(keys: usize, head_dim: usize, element: usize, shared_memory: usize) -> bool {
    let vectors = head_dim / WIDTH;
    let is_known = head_dim.is_multiple_of(WIDTH) && [4, 8, 16, 32].contains(&vectors);
    let padded = keys.next_multiple_of(TILE);
    let rows = (2 * TILE + 2 * padded) * (vectors + 1) * WIDTH * element;
    let numbers = (2 * TILE * (padded + 1) + UNITS) * 4;
    is_known && keys > 0 && rows + numbers <= shared_memory
}
