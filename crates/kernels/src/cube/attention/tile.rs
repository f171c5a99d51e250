//! What a cube does with a tile of queries and some keys, all in shared memory.

use cubecl::prelude::*;

use super::super::dropout::{is_kept, seed_of};

pub(super) const UNITS: usize = 128;
/// Elements of a vector.
pub(super) const WIDTH: usize = 4;
/// Queries that a cube works on at a time; there is room for a multiple of it in keys.
pub(super) const TILE: usize = 32;
/// Units that share a row of probabilities.
pub(super) const SHARE: usize = UNITS / TILE;
/// Below all logits.
pub(super) const LOWEST: f32 = -3.0e38;

/// Where a tensor `[batch, length, ..]` has the vectors of a head.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(super) struct Rows {
    pub(super) length: u32,
    /// From a position to the next, in vectors.
    pub(super) stride: u32,
    /// Of the first head within a position, in vectors.
    pub(super) offset: u32,
}

/// Strides of a bias `[batch, heads, queries, keys]`, 0 where it is broadcast.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(in super::super) struct BiasStrides {
    pub(in super::super) sample: u32,
    pub(in super::super) head: u32,
    pub(in super::super) query: u32,
    pub(in super::super) key: u32,
}

#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(super) struct Dropping {
    pub(super) salt: u32,
    pub(super) threshold: u32,
    pub(super) scale: f32,
}

/// What is to be computed, and where the operands are.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(super) struct Task {
    pub(super) queries: Rows,
    pub(super) keys: Rows,
    pub(super) values: Rows,
    pub(super) bias: BiasStrides,
    pub(super) dropping: Dropping,
    pub(super) scale: f32,
}

/// What a kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Form {
    /// That there is room for in a cube.
    pub(super) keys: usize,
    /// Of a head.
    pub(super) vectors: usize,
    pub(super) biased: bool,
    pub(super) drops: bool,
}

impl Form {
    /// Vectors of a tile's result that a unit computes.
    pub(super) fn query_share(&self) -> usize {
        TILE * self.vectors / UNITS
    }

    /// Vectors of all keys' gradient that a unit computes.
    pub(super) fn key_share(&self) -> usize {
        self.keys * self.vectors / UNITS
    }
}

/// Room for `count` rows of a head.
#[cube]
pub(super) fn room<F: Float, N: Size>(
    #[comptime] count: usize,
    #[comptime] vectors: usize,
) -> Shared<[Vector<F, N>]> {
    Shared::<[Vector<F, N>]>::new_slice(comptime!(count * (vectors + 1)))
}

/// Room for a number for each of the tile's queries and the keys.
#[cube]
pub(super) fn numbers(#[comptime] form: Form) -> Shared<[f32]> {
    Shared::<[f32]>::new_slice(comptime!(TILE * (form.keys + 1)))
}

#[cube]
pub(super) fn zeros<N: Size>(#[comptime] count: usize) -> Array<Vector<f32, N>> {
    let mut sums = Array::<Vector<f32, N>>::new(count);
    #[unroll]
    for r in 0..count {
        sums[r] = Vector::new(0.0f32);
    }
    sums
}

/// Copies rows from `first` on into shared memory, zeros behind the last one.
#[cube]
pub(super) fn load<F: Float, N: Size>(
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

/// Loads the keys from `first` on, and their values.
#[cube]
pub(super) fn load_keys<F: Float, N: Size>(
    from: &Tensor<Vector<F, N>>,
    keys: &mut Shared<[Vector<F, N>]>,
    values: &mut Shared<[Vector<F, N>]>,
    task: &Task,
    first: u32,
    #[comptime] form: Form,
) {
    load::<F, N>(from, keys, &task.keys, first, form.keys, form.vectors);
    load::<F, N>(from, values, &task.values, first, form.keys, form.vectors);
}

/// Products of each of the tile's rows of `a` with each row of `b`.
#[cube]
pub(super) fn products<F: Float, N: Size>(
    a: &Shared<[Vector<F, N>]>,
    b: &Shared<[Vector<F, N>]>,
    out: &mut Shared<[f32]>,
    #[comptime] form: Form,
) {
    let (keys, vectors) = comptime!((form.keys, form.vectors));
    let lane = UNIT_POS as usize % TILE;
    let first = UNIT_POS as usize / TILE * comptime!(TILE / SHARE);
    #[unroll]
    for block in 0..comptime!(keys / TILE) {
        let key = block * TILE + lane;
        let mut sums = zeros::<N>(comptime!(TILE / SHARE));
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

/// Turns the products of the tile's queries with the keys from `first_key` on into logits, in place, and
/// gives back the largest of this unit's. Rows behind the last query are computed and not used.
#[cube]
pub(super) fn logits(
    p: &mut Shared<[f32]>,
    bias: &Tensor<f32>,
    task: &Task,
    first_query: u32,
    first_key: u32,
    #[comptime] form: Form,
) -> f32 {
    let (row, part) = (UNIT_POS as usize / SHARE, UNIT_POS as usize % SHARE);
    let start = row * comptime!(form.keys + 1);
    let query = u32::min(first_query + row as u32, task.queries.length - 1);
    let bias_start =
        CUBE_POS_Y * task.bias.sample + CUBE_POS_X * task.bias.head + query * task.bias.query;
    let mut largest = LOWEST.runtime();
    for i in 0..comptime!(form.keys / SHARE) {
        let place = start + i * SHARE + part;
        let key = first_key + (i * SHARE + part) as u32;
        let mut logit = p[place] * task.scale;
        if key >= task.keys.length {
            logit = LOWEST.runtime();
        } else if comptime!(form.biased) {
            logit += bias[(bias_start + key * task.bias.key) as usize];
        }
        p[place] = logit;
        largest = f32::max(largest, logit);
    }
    largest
}

/// Turns logits below `level` into what their exponentials add up to, in this unit's part of a row.
#[cube]
pub(super) fn exponentials(p: &mut Shared<[f32]>, level: f32, #[comptime] form: Form) -> f32 {
    let (row, part) = (UNIT_POS as usize / SHARE, UNIT_POS as usize % SHARE);
    let start = row * comptime!(form.keys + 1);
    let mut sum = 0.0f32;
    for i in 0..comptime!(form.keys / SHARE) {
        let place = start + i * SHARE + part;
        let value = f32::exp(p[place] - level);
        p[place] = value;
        sum += value;
    }
    sum
}

/// Sum over the units that share a row.
#[cube]
pub(super) fn shared_sum(value: f32, scratch: &mut Shared<[f32]>) -> f32 {
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

/// The largest of the units that share a row.
#[cube]
pub(super) fn shared_max(value: f32, scratch: &mut Shared<[f32]>) -> f32 {
    let row = UNIT_POS as usize / SHARE;
    scratch[UNIT_POS as usize] = value;
    sync_cube();
    let mut largest = LOWEST.runtime();
    #[unroll]
    for i in 0..SHARE {
        largest = f32::max(largest, scratch[row * SHARE + i]);
    }
    sync_cube();
    largest
}

/// What a probability is multiplied with.
#[cube]
pub(super) fn kept(query: u32, key: u32, start: u32, task: &Task) -> f32 {
    let row = (CUBE_POS_Y * CUBE_COUNT_X + CUBE_POS_X) * task.queries.length + query;
    let keep = is_kept(row * task.keys.length + key, start, task.dropping.threshold);
    select(keep, task.dropping.scale, 0.0f32)
}

/// Drops some of this unit's probabilities.
#[cube]
pub(super) fn drop_some(
    p: &mut Shared<[f32]>,
    seed: &Tensor<f32>,
    task: &Task,
    first_query: u32,
    first_key: u32,
    #[comptime] form: Form,
) {
    if comptime!(form.drops) {
        let start = seed_of(seed[0], task.dropping.salt);
        let (row, part) = (UNIT_POS as usize / SHARE, UNIT_POS as usize % SHARE);
        for i in 0..comptime!(form.keys / SHARE) {
            let key = i * SHARE + part;
            let query = first_query + row as u32;
            p[row * comptime!(form.keys + 1) + key] *=
                kept(query, first_key + key as u32, start, task);
        }
    }
}

/// Sum, over this unit's part of a row, of `p` times the gradients of what dropout leaves of it.
#[cube]
pub(super) fn product_of_rows(
    p: &Shared<[f32]>,
    dp: &Shared<[f32]>,
    seed: &Tensor<f32>,
    task: &Task,
    first_query: u32,
    first_key: u32,
    #[comptime] form: Form,
) -> f32 {
    let start = seed_of(seed[0], task.dropping.salt);
    let (row, part) = (UNIT_POS as usize / SHARE, UNIT_POS as usize % SHARE);
    let mut sum = 0.0f32;
    for i in 0..comptime!(form.keys / SHARE) {
        let key = i * SHARE + part;
        let place = row * comptime!(form.keys + 1) + key;
        let mut gradient = dp[place];
        if comptime!(form.drops) {
            gradient *= kept(first_query + row as u32, first_key + key as u32, start, task);
        }
        sum += p[place] * gradient;
    }
    sum
}

/// Turns this unit's probabilities `p` and the gradients `dp` of those that are left of them into what is
/// left and the gradients of the products; `dot` is the sum over a row of both multiplied.
#[cube]
pub(super) fn gradients_of_products(
    p: &mut Shared<[f32]>,
    dp: &mut Shared<[f32]>,
    dot: f32,
    seed: &Tensor<f32>,
    task: &Task,
    first_query: u32,
    first_key: u32,
    #[comptime] form: Form,
) {
    let start = seed_of(seed[0], task.dropping.salt);
    let (row, part) = (UNIT_POS as usize / SHARE, UNIT_POS as usize % SHARE);
    for i in 0..comptime!(form.keys / SHARE) {
        let key = i * SHARE + part;
        let place = row * comptime!(form.keys + 1) + key;
        let probability = p[place];
        if comptime!(form.drops) {
            let factor = kept(first_query + row as u32, first_key + key as u32, start, task);
            p[place] = probability * factor;
            dp[place] = probability * (dp[place] * factor - dot) * task.scale;
        } else {
            dp[place] = probability * (dp[place] - dot) * task.scale;
        }
    }
}

/// Adds, to the rows of the tile that are this unit's, the `count` rows of `b` by their weights.
#[cube]
pub(super) fn add_weighted<F: Float, N: Size>(
    weights: &Shared<[f32]>,
    b: &Shared<[Vector<F, N>]>,
    sums: &mut Array<Vector<f32, N>>,
    count: u32,
    #[comptime] form: Form,
) {
    let vectors = comptime!(form.vectors);
    let (column, group) = (UNIT_POS as usize % vectors, UNIT_POS as usize / vectors);
    let share = comptime!(form.query_share());
    for key in 0..count as usize {
        let value = Vector::<f32, N>::cast_from(b[key * (vectors + 1) + column]);
        #[unroll]
        for r in 0..share {
            let row = (group * share + r) * comptime!(form.keys + 1);
            sums[r] = fma(Vector::new(weights[row + key]), value, sums[r]);
        }
    }
}

/// Adds, to the gradients of the keys and values that are this unit's, what a tile of queries contributes.
/// Rows behind the last query have a gradient of zero, and so add nothing.
#[cube]
pub(super) fn add_to_keys<F: Float, N: Size>(
    p: &Shared<[f32]>,
    dp: &Shared<[f32]>,
    q: &Shared<[Vector<F, N>]>,
    d: &Shared<[Vector<F, N>]>,
    dk: &mut Array<Vector<f32, N>>,
    dv: &mut Array<Vector<f32, N>>,
    #[comptime] form: Form,
) {
    let vectors = comptime!(form.vectors);
    let (column, group) = (UNIT_POS as usize % vectors, UNIT_POS as usize / vectors);
    let share = comptime!(form.key_share());
    for i in 0..TILE {
        let dout_row = Vector::<f32, N>::cast_from(d[i * (vectors + 1) + column]);
        let query_row = Vector::<f32, N>::cast_from(q[i * (vectors + 1) + column]);
        #[unroll]
        for r in 0..share {
            let place = i * comptime!(form.keys + 1) + group * share + r;
            dv[r] = fma(Vector::new(p[place]), dout_row, dv[r]);
            dk[r] = fma(Vector::new(dp[place]), query_row, dk[r]);
        }
    }
}

/// Writes this unit's rows of a tile.
#[cube]
pub(super) fn store<F: Float, N: Size>(
    sums: &Array<Vector<f32, N>>,
    out: &mut Tensor<Vector<F, N>>,
    rows: &Rows,
    first: u32,
    #[comptime] share: usize,
    #[comptime] vectors: usize,
) {
    let (column, group) = (UNIT_POS as usize % vectors, UNIT_POS as usize / vectors);
    let start = CUBE_POS_Y * rows.length * rows.stride + rows.offset + CUBE_POS_X * vectors as u32;
    #[unroll]
    for r in 0..share {
        let position = first + (group * share + r) as u32;
        if position < rows.length {
            let place = (start + position * rows.stride) as usize + column;
            out[place] = Vector::cast_from(sums[r]);
        }
    }
}
