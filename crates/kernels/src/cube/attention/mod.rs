//! Attention in one kernel, without its probabilities in memory. The backward pass computes them again.

mod tile;
mod tiled;
mod whole;

use burn::backend::cubecl::dtype_to_elem_type;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::client::Client;
use cubecl::prelude::*;

use self::tile::{
    BiasStridesLaunch, DroppingLaunch, Form, Rows, RowsLaunch, TILE, TaskLaunch, UNITS, WIDTH,
};
use super::{empty, empty_f32};
use crate::Attention;

pub(super) use self::tile::BiasStrides;

/// The most keys that all are in shared memory at once. More would leave a processor with too few cubes.
const MOST_WHOLE: usize = 128;

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

/// `[batch, queries, dim]`
pub(super) fn attention(operands: Operands, attention: Attention) -> CubeTensor {
    let call = Call::new(operands, attention);
    let Layout { batch, queries, .. } = call.layout;
    let out = empty(&call.query, [batch, queries.length as usize, call.layout.dim]);
    let launch = match call.way {
        Way::Whole => whole::attention_kernel::launch,
        Way::Tiled => tiled::attention_kernel::launch,
    };
    launch(
        &call.query.client,
        call.cubes(queries.length.div_ceil(TILE as u32)),
        CubeDim::new_1d(UNITS as u32),
        WIDTH,
        call.query.clone().into_tensor_arg(),
        call.key.clone().into_tensor_arg(),
        call.bias.clone().into_tensor_arg(),
        call.seed.clone().into_tensor_arg(),
        out.clone().into_tensor_arg(),
        call.task(),
        call.layout.out().argument(),
        call.form,
        dtype_to_elem_type(call.query.dtype),
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
    let like = |tensor: &CubeTensor| empty(tensor, tensor.meta.shape().clone());
    let is_fused = operands.key.is_none();
    let call = Call::new(operands, attention);
    let dout = into_contiguous(dout);
    let dquery = (!is_fused).then(|| like(&call.query));
    let dkey = like(&call.key);
    match call.way {
        Way::Whole => call.gradients_at_once(dout, dquery.clone(), dkey.clone()),
        Way::Tiled => call.gradients_in_turn(dout, dquery.clone(), dkey.clone()),
    }
    (dquery, dkey)
}

/// How many keys a cube has in shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// All.
    Whole,
    /// Some at a time.
    Tiled,
}

impl Way {
    /// The fastest that a device's shared memory has room for; `element` is the size of a number in bytes.
    fn of(keys: usize, head_dim: usize, element: usize, shared_memory: usize) -> Option<Self> {
        let vectors = head_dim / WIDTH;
        let is_known = head_dim.is_multiple_of(WIDTH) && [4, 8, 16, 32].contains(&vectors);
        let has_room = |way: Self| {
            let keys = way.room(keys);
            let rows = (2 * TILE + 2 * keys) * (vectors + 1) * WIDTH * element;
            let numbers = (2 * TILE * (keys + 1) + UNITS + TILE) * size_of::<f32>();
            rows + numbers <= shared_memory
        };
        if !is_known || keys == 0 {
            None
        } else if keys <= MOST_WHOLE && has_room(Self::Whole) {
            Some(Self::Whole)
        } else {
            has_room(Self::Tiled).then_some(Self::Tiled)
        }
    }

    /// Keys that there is room for.
    fn room(self, keys: usize) -> usize {
        match self {
            Self::Whole => keys.next_multiple_of(TILE),
            Self::Tiled => TILE,
        }
    }
}

/// Whether the kernels can do this attention; `element` is the size of a number in bytes.
pub(crate) fn fits(client: &Client, keys: usize, head_dim: usize, element: usize) -> bool {
    Way::of(keys, head_dim, element, shared_memory(client)).is_some()
}

fn shared_memory(client: &Client) -> usize {
    client.properties().hardware.max_shared_memory_size
}

/// An attention that the kernels can do. What they don't need is any tensor of the right type.
struct Call {
    attention: Attention,
    layout: Layout,
    way: Way,
    form: Form,
    query: CubeTensor,
    key: CubeTensor,
    bias: CubeTensor,
    seed: CubeTensor,
}

impl Call {
    fn new(operands: Operands, attention: Attention) -> Self {
        let query = into_contiguous(operands.query);
        let key = operands.key.map(into_contiguous);
        let bias = operands.bias.as_ref();
        let layout = Layout::of(&query, key.as_ref(), bias);
        let (keys, head_dim) = (layout.keys.length as usize, layout.dim / attention.heads);
        let shared = shared_memory(&query.client);
        let Some(way) = Way::of(keys, head_dim, query.dtype.size(), shared) else {
            unreachable!("whoever calls has asked whether it fits")
        };
        let form = Form {
            keys: way.room(keys),
            vectors: head_dim / WIDTH,
            biased: bias.is_some(),
            drops: attention.drop.drops(),
        };
        let unused = || empty_f32(&query, [1]);
        Self {
            attention,
            layout,
            way,
            form,
            key: key.unwrap_or_else(|| query.clone()),
            bias: operands.bias.unwrap_or_else(unused),
            seed: operands.seed.unwrap_or_else(unused),
            query,
        }
    }

    /// One kernel for everything.
    fn gradients_at_once(&self, dout: CubeTensor, dquery: Option<CubeTensor>, dkey: CubeTensor) {
        let is_fused = dquery.is_none();
        // In self-attention nothing is written there.
        let dquery = dquery.unwrap_or_else(|| empty(&self.query, [WIDTH]));
        whole::gradients_kernel::launch(
            &self.query.client,
            self.cubes(1),
            CubeDim::new_1d(UNITS as u32),
            WIDTH,
            self.query.clone().into_tensor_arg(),
            self.key.clone().into_tensor_arg(),
            self.bias.clone().into_tensor_arg(),
            self.seed.clone().into_tensor_arg(),
            dout.into_tensor_arg(),
            dquery.into_tensor_arg(),
            dkey.into_tensor_arg(),
            self.task(),
            self.layout.out().argument(),
            self.form,
            is_fused,
            dtype_to_elem_type(self.query.dtype),
        );
    }

    /// A kernel for the queries, and one for keys and values.
    fn gradients_in_turn(&self, dout: CubeTensor, dquery: Option<CubeTensor>, dkey: CubeTensor) {
        let Layout { batch, queries, keys, .. } = self.layout;
        let rows = batch * self.attention.heads * queries.length as usize;
        let statistics = empty_f32(&self.query, [rows * tiled::STATISTICS]);
        tiled::query_gradient_kernel::launch(
            &self.query.client,
            self.cubes(queries.length.div_ceil(TILE as u32)),
            CubeDim::new_1d(UNITS as u32),
            WIDTH,
            self.query.clone().into_tensor_arg(),
            self.key.clone().into_tensor_arg(),
            self.bias.clone().into_tensor_arg(),
            self.seed.clone().into_tensor_arg(),
            dout.clone().into_tensor_arg(),
            dquery.unwrap_or_else(|| dkey.clone()).into_tensor_arg(),
            statistics.clone().into_tensor_arg(),
            self.task(),
            self.layout.out().argument(),
            self.form,
            dtype_to_elem_type(self.query.dtype),
        );
        tiled::key_gradient_kernel::launch(
            &self.query.client,
            self.cubes(keys.length.div_ceil(self.form.keys as u32)),
            CubeDim::new_1d(UNITS as u32),
            WIDTH,
            self.query.clone().into_tensor_arg(),
            self.key.clone().into_tensor_arg(),
            self.bias.clone().into_tensor_arg(),
            self.seed.clone().into_tensor_arg(),
            dout.into_tensor_arg(),
            statistics.into_tensor_arg(),
            dkey.into_tensor_arg(),
            self.task(),
            self.layout.out().argument(),
            self.form,
            dtype_to_elem_type(self.query.dtype),
        );
    }

    /// So many for each head of a sample.
    fn cubes(&self, count: u32) -> CubeCount {
        CubeCount::Static(self.attention.heads as u32, self.layout.batch as u32, count)
    }

    fn task(&self) -> TaskLaunch {
        let drop = self.attention.drop;
        TaskLaunch::new(
            self.layout.queries.argument(),
            self.layout.keys.argument(),
            self.layout.values.argument(),
            self.layout.bias.argument(),
            DroppingLaunch::new(drop.salt, drop.threshold(), drop.scale()),
            self.attention.scale as f32,
        )
    }
}

/// How operands are laid out.
#[derive(Clone, Copy)]
struct Layout {
    batch: usize,
    queries: Rows,
    keys: Rows,
    values: Rows,
    bias: BiasStrides,
    dim: usize,
}

impl Layout {
    fn of(query: &CubeTensor, key: Option<&CubeTensor>, bias: Option<&CubeTensor>) -> Self {
        let shape = query.meta.shape();
        let (batch, length, width) = (shape[0], shape[1], shape[2]);
        let (dim, queries, keys, values) = match key {
            None => {
                let dim = width / 3;
                let part = |offset: usize| Rows::of(length, width, offset);
                (dim, part(0), part(dim), part(2 * dim))
            }
            Some(key) => {
                let part = |offset: usize| Rows::of(key.meta.shape()[1], 2 * width, offset);
                (width, Rows::of(length, width, 0), part(0), part(width))
            }
        };
        Self { batch, queries, keys, values, bias: BiasStrides::of(bias), dim }
    }

    /// Of the result and its gradient.
    fn out(&self) -> Rows {
        Rows::of(self.queries.length as usize, self.dim, 0)
    }
}

impl Rows {
    fn of(length: usize, width: usize, offset: usize) -> Self {
        Self {
            length: length as u32,
            stride: (width / WIDTH) as u32,
            offset: (offset / WIDTH) as u32,
        }
    }

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
