//! Kernels with all keys and values of a head in shared memory.

use cubecl::prelude::*;

use super::tile::{
    Form, Rows, SHARE, TILE, Task, UNITS, add_to_keys, add_weighted, drop_some, exponentials,
    gradients_of_products, load, load_keys, logits, numbers, product_of_rows, products, room,
    shared_max, shared_sum, store, zeros,
};

/// Turns products into probabilities, in place.
#[cube]
fn softmax(
    p: &mut Shared<[f32]>,
    scratch: &mut Shared<[f32]>,
    bias: &Tensor<f32>,
    task: &Task,
    first_query: u32,
    #[comptime] form: Form,
) {
    let largest = logits(p, bias, task, first_query, 0u32, form);
    let level = shared_max(largest, scratch);
    let total = shared_sum(exponentials(p, level, form), scratch);
    let (row, part) = (UNIT_POS as usize / SHARE, UNIT_POS as usize % SHARE);
    for i in 0..comptime!(form.keys / SHARE) {
        p[row * comptime!(form.keys + 1) + i * SHARE + part] /= total;
    }
}

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
    let (keys, vectors) = comptime!((form.keys, form.vectors));
    let mut q = room::<F, N>(TILE, vectors);
    let mut k = room::<F, N>(keys, vectors);
    let mut v = room::<F, N>(keys, vectors);
    let mut p = numbers(form);
    let mut scratch = Shared::<[f32]>::new_slice(UNITS);
    let first_query = CUBE_POS_Z * TILE as u32;
    load::<F, N>(query_tensor, &mut q, &task.queries, first_query, TILE, vectors);
    load_keys::<F, N>(key_tensor, &mut k, &mut v, &task, 0u32, form);
    sync_cube();
    products::<F, N>(&q, &k, &mut p, form);
    sync_cube();
    softmax(&mut p, &mut scratch, bias, &task, first_query, form);
    drop_some(&mut p, seed, &task, first_query, 0u32, form);
    sync_cube();
    let mut sums = zeros::<N>(comptime!(form.query_share()));
    add_weighted::<F, N>(&p, &v, &mut sums, task.keys.length, form);
    store::<F, N>(&sums, out, &out_rows, first_query, comptime!(form.query_share()), vectors);
}

/// A cube for each head of a sample. The probabilities are computed again. In self-attention (`fused`) the
/// gradient of the queries is a part of `dkey`.
#[cube(launch)]
pub(super) fn gradients_kernel<F: Float, N: Size>(
    query_tensor: &Tensor<Vector<F, N>>,
    key_tensor: &Tensor<Vector<F, N>>,
    bias: &Tensor<f32>,
    seed: &Tensor<f32>,
    dout: &Tensor<Vector<F, N>>,
    dquery: &mut Tensor<Vector<F, N>>,
    dkey: &mut Tensor<Vector<F, N>>,
    task: Task,
    out_rows: Rows,
    #[comptime] form: Form,
    #[comptime] fused: bool,
    #[define(F)] _dtype: ElemType,
) {
    let (keys, vectors) = comptime!((form.keys, form.vectors));
    let (query_share, key_share) = comptime!((form.query_share(), form.key_share()));
    let mut q = room::<F, N>(TILE, vectors);
    let mut d = room::<F, N>(TILE, vectors);
    let mut k = room::<F, N>(keys, vectors);
    let mut v = room::<F, N>(keys, vectors);
    let mut p = numbers(form);
    let mut dp = numbers(form);
    let mut scratch = Shared::<[f32]>::new_slice(UNITS);
    load_keys::<F, N>(key_tensor, &mut k, &mut v, &task, 0u32, form);

    let mut dk = zeros::<N>(key_share);
    let mut dv = zeros::<N>(key_share);
    let tiles = task.queries.length.div_ceil(TILE as u32);
    for tile in 0..tiles {
        let first_query = tile * TILE as u32;
        load::<F, N>(query_tensor, &mut q, &task.queries, first_query, TILE, vectors);
        load::<F, N>(dout, &mut d, &out_rows, first_query, TILE, vectors);
        sync_cube();
        products::<F, N>(&q, &k, &mut p, form);
        products::<F, N>(&d, &v, &mut dp, form);
        sync_cube();
        softmax(&mut p, &mut scratch, bias, &task, first_query, form);
        let product = product_of_rows(&p, &dp, seed, &task, first_query, 0u32, form);
        let dot = shared_sum(product, &mut scratch);
        gradients_of_products(&mut p, &mut dp, dot, seed, &task, first_query, 0u32, form);
        sync_cube();
        add_to_keys::<F, N>(&p, &dp, &q, &d, &mut dk, &mut dv, form);
        let mut sums = zeros::<N>(query_share);
        add_weighted::<F, N>(&dp, &k, &mut sums, task.keys.length, form);
        if comptime!(fused) {
            store::<F, N>(&sums, dkey, &task.queries, first_query, query_share, vectors);
        } else {
            store::<F, N>(&sums, dquery, &task.queries, first_query, query_share, vectors);
        }
        sync_cube();
    }
    store::<F, N>(&dk, dkey, &task.keys, 0u32, key_share, vectors);
    store::<F, N>(&dv, dkey, &task.values, 0u32, key_share, vectors);
}
