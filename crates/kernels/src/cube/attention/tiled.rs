//! Kernels that pass over any number of keys, some at a time: the softmax is rescaled whenever a larger
//! logit turns up (Milakov and Gimelshein 2018, "Online normalizer calculation for softmax"), and no
//! probability is ever stored (Dao et al. 2022, "FlashAttention").

use cubecl::prelude::*;

use super::tile::{
    Form, LOWEST, Rows, SHARE, TILE, Task, UNITS, add_to_keys, add_weighted, drop_some,
    exponentials, gradients_of_products, load, load_keys, logits, numbers, product_of_rows,
    products, room, shared_max, shared_sum, store, zeros,
};

/// Numbers that are kept of a query between the kernels of the backward pass: the logarithm of the sum of
/// its exponentials, and the sum of its probabilities times their gradients.
pub(super) const STATISTICS: usize = 2;

/// A cube for each tile of queries of a head of a sample.
#[cube(launch)]
pub(super) fn attention_kernel<F: Float, N: Size>(
    query_tensor: &Tensor<Vector<F, N>>,
    key_tensor: &Tensor<Vector<F, N>>,
    bias: &Tensor<f32>,
    seed: &Tensor<f32>,
    out: &mut Tensor<Vector<F, N>>,
    task: Task,
    out_rows: Rows,
    #[comptime] form: Form,
    #[define(F)] _dtype: ElemType,
) {
    let (keys, vectors, share) = comptime!((form.keys, form.vectors, form.query_share()));
    let mut q = room::<F, N>(TILE, vectors);
    let mut k = room::<F, N>(keys, vectors);
    let mut v = room::<F, N>(keys, vectors);
    let mut p = numbers(form);
    let mut scratch = Shared::<[f32]>::new_slice(UNITS);
    let mut factors = Shared::<[f32]>::new_slice(TILE);
    let first_query = CUBE_POS_Z * TILE as u32;
    load::<F, N>(query_tensor, &mut q, &task.queries, first_query, TILE, vectors);

    let mut level = LOWEST.runtime();
    let mut total = 0.0f32.runtime();
    let mut sums = zeros::<N>(share);
    for tile in 0..task.keys.length.div_ceil(keys as u32) {
        let first_key = tile * keys as u32;
        load_keys::<F, N>(key_tensor, &mut k, &mut v, &task, first_key, form);
        sync_cube();
        products::<F, N>(&q, &k, &mut p, form);
        sync_cube();
        let largest = logits(&mut p, bias, &task, first_query, first_key, form);
        let before = level;
        level = f32::max(before, shared_max(largest, &mut scratch));
        let shrink = f32::exp(before - level);
        let sum = exponentials(&mut p, level, form);
        total = total * shrink + shared_sum(sum, &mut scratch);
        drop_some(&mut p, seed, &task, first_query, first_key, form);
        multiply::<N>(&mut sums, shrink, &mut factors, form);
        add_weighted::<F, N>(&p, &v, &mut sums, keys as u32, form);
        sync_cube();
    }
    multiply::<N>(&mut sums, 1.0f32 / total, &mut factors, form);
    store::<F, N>(&sums, out, &out_rows, first_query, share, vectors);
}

/// Multiplies each row of the tile with the factor that the units of this row of probabilities have.
#[cube]
fn multiply<N: Size>(
    sums: &mut Array<Vector<f32, N>>,
    factor: f32,
    factors: &mut Shared<[f32]>,
    #[comptime] form: Form,
) {
    let share = comptime!(form.query_share());
    if UNIT_POS as usize % SHARE == 0 {
        factors[UNIT_POS as usize / SHARE] = factor;
    }
    sync_cube();
    #[unroll]
    for r in 0..share {
        sums[r] *= Vector::new(factors[UNIT_POS as usize / comptime!(form.vectors) * share + r]);
    }
}

/// The queries' gradient and statistics, by a cube for each tile of queries of a head of a sample.
#[cube(launch)]
pub(super) fn query_gradient_kernel<F: Float, N: Size>(
    query_tensor: &Tensor<Vector<F, N>>,
    key_tensor: &Tensor<Vector<F, N>>,
    bias: &Tensor<f32>,
    seed: &Tensor<f32>,
    dout: &Tensor<Vector<F, N>>,
    dquery: &mut Tensor<Vector<F, N>>,
    statistics: &mut Tensor<f32>,
    task: Task,
    out_rows: Rows,
    #[comptime] form: Form,
    #[define(F)] _dtype: ElemType,
) {
    let (keys, vectors, share) = comptime!((form.keys, form.vectors, form.query_share()));
    let mut q = room::<F, N>(TILE, vectors);
    let mut d = room::<F, N>(TILE, vectors);
    let mut k = room::<F, N>(keys, vectors);
    let mut v = room::<F, N>(keys, vectors);
    let mut p = numbers(form);
    let mut dp = numbers(form);
    let mut scratch = Shared::<[f32]>::new_slice(UNITS);
    let first_query = CUBE_POS_Z * TILE as u32;
    load::<F, N>(query_tensor, &mut q, &task.queries, first_query, TILE, vectors);
    load::<F, N>(dout, &mut d, &out_rows, first_query, TILE, vectors);

    let mut level = LOWEST.runtime();
    let mut total = 0.0f32.runtime();
    let mut dot = 0.0f32.runtime();
    let tiles = task.keys.length.div_ceil(keys as u32);
    for tile in 0..tiles {
        let first_key = tile * keys as u32;
        load_keys::<F, N>(key_tensor, &mut k, &mut v, &task, first_key, form);
        sync_cube();
        products::<F, N>(&q, &k, &mut p, form);
        products::<F, N>(&d, &v, &mut dp, form);
        sync_cube();
        let largest = logits(&mut p, bias, &task, first_query, first_key, form);
        let before = level;
        level = f32::max(before, shared_max(largest, &mut scratch));
        let shrink = f32::exp(before - level);
        let sum = exponentials(&mut p, level, form);
        let product = product_of_rows(&p, &dp, seed, &task, first_query, first_key, form);
        total = total * shrink + shared_sum(sum, &mut scratch);
        dot = dot * shrink + shared_sum(product, &mut scratch);
    }
    level += f32::ln(total);
    dot /= total;
    let query = first_query + (UNIT_POS as usize / SHARE) as u32;
    if UNIT_POS as usize % SHARE == 0 && query < task.queries.length {
        let place = place_of_statistics(query, &task);
        statistics[place] = level;
        statistics[place + 1] = dot;
    }

    let mut sums = zeros::<N>(share);
    for tile in 0..tiles {
        let first_key = tile * keys as u32;
        load_keys::<F, N>(key_tensor, &mut k, &mut v, &task, first_key, form);
        sync_cube();
        products::<F, N>(&q, &k, &mut p, form);
        products::<F, N>(&d, &v, &mut dp, form);
        sync_cube();
        logits(&mut p, bias, &task, first_query, first_key, form);
        exponentials(&mut p, level, form);
        gradients_of_products(&mut p, &mut dp, dot, seed, &task, first_query, first_key, form);
        sync_cube();
        add_weighted::<F, N>(&dp, &k, &mut sums, keys as u32, form);
        sync_cube();
    }
    store::<F, N>(&sums, dquery, &task.queries, first_query, share, vectors);
}

/// The keys' and values' gradients, by a cube for each tile of keys of a head of a sample.
#[cube(launch)]
pub(super) fn key_gradient_kernel<F: Float, N: Size>(
    query_tensor: &Tensor<Vector<F, N>>,
    key_tensor: &Tensor<Vector<F, N>>,
    bias: &Tensor<f32>,
    seed: &Tensor<f32>,
    dout: &Tensor<Vector<F, N>>,
    statistics: &Tensor<f32>,
    dkey: &mut Tensor<Vector<F, N>>,
    task: Task,
    out_rows: Rows,
    #[comptime] form: Form,
    #[define(F)] _dtype: ElemType,
) {
    let (keys, vectors, share) = comptime!((form.keys, form.vectors, form.key_share()));
    let mut q = room::<F, N>(TILE, vectors);
    let mut d = room::<F, N>(TILE, vectors);
    let mut k = room::<F, N>(keys, vectors);
    let mut v = room::<F, N>(keys, vectors);
    let mut p = numbers(form);
    let mut dp = numbers(form);
    let first_key = CUBE_POS_Z * keys as u32;
    load_keys::<F, N>(key_tensor, &mut k, &mut v, &task, first_key, form);

    let mut dk = zeros::<N>(share);
    let mut dv = zeros::<N>(share);
    for tile in 0..task.queries.length.div_ceil(TILE as u32) {
        let first_query = tile * TILE as u32;
        load::<F, N>(query_tensor, &mut q, &task.queries, first_query, TILE, vectors);
        load::<F, N>(dout, &mut d, &out_rows, first_query, TILE, vectors);
        sync_cube();
        products::<F, N>(&q, &k, &mut p, form);
        products::<F, N>(&d, &v, &mut dp, form);
        sync_cube();
        logits(&mut p, bias, &task, first_query, first_key, form);
        // A row behind the last query has the statistics of the last, which may be far from its own; its
        // exponentials are kept from overflowing, for they are multiplied with zeros.
        let query = first_query + (UNIT_POS as usize / SHARE) as u32;
        let place = place_of_statistics(u32::min(query, task.queries.length - 1), &task);
        let mut level = statistics[place];
        if query >= task.queries.length {
            level = f32::new(-LOWEST);
        }
        exponentials(&mut p, level, form);
        let dot = statistics[place + 1];
        gradients_of_products(&mut p, &mut dp, dot, seed, &task, first_query, first_key, form);
        sync_cube();
        add_to_keys::<F, N>(&p, &dp, &q, &d, &mut dk, &mut dv, form);
        sync_cube();
    }
    store::<F, N>(&dk, dkey, &task.keys, first_key, share, vectors);
    store::<F, N>(&dv, dkey, &task.values, first_key, share, vectors);
}

#[cube]
fn place_of_statistics(query: u32, task: &Task) -> usize {
    let row = (CUBE_POS_Y * CUBE_COUNT_X + CUBE_POS_X) * task.queries.length + query;
    row as usize * STATISTICS
}
