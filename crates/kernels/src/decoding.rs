use burn::backend::Dispatch;
use burn::tensor::{DType, Device, Int, Tensor};

use crate::attention::few_fit;
use crate::ops::DecodingOps;
use crate::{Kernels, plain};

/// Keys and values of the tokens that a decoder's layer has read, in one buffer that is written in place.
///
/// Rows are those of a batch of texts; which of them a text's earlier tokens are in says a [`Reading`],
/// which all layers share, so that texts can be dropped or reordered without moving this.
#[derive(Debug)]
pub struct Past {
    /// `[rows, capacity, 2 * dim]`, the values behind the keys. Nobody else holds it.
    pub(crate) keys_values: Tensor<3>,
}

/// How far a batch of texts has been read, and where in a [`Past`] their tokens are.
///
/// It may go into a [`Graph`](crate::Graph) where [`Past::has_kernel`] is true.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The row of each text's token at each position, `[texts, capacity]` in i32; from the newest
    /// position on, that of the text itself.
    pub(crate) rows: Tensor<2, Int>,
    /// That of the newest token, `[1]` in i32.
    pub(crate) position: Tensor<1, Int>,
    /// Whether every text has been in its own row from the first token on.
    pub(crate) in_order: bool,
    /// Number of tokens read.
    pub(crate) length: usize,
}

/// How a decoder's newest tokens attend to what they follow.
#[derive(Clone, Debug)]
pub struct PastAttention {
    /// Number of heads.
    pub heads: usize,
    /// Factor of the products of queries and keys.
    pub scale: f64,
    /// Added to the logits of the token at each distance, from 0, the token itself, on:
    /// `[heads, capacity]` in f32.
    pub distance_bias: Option<Tensor<2>>,
}

impl Past {
    /// Room for `capacity` tokens of `dim` in each of so many rows.
    pub fn new(
        rows: usize,
        capacity: usize,
        dim: usize,
        (device, dtype): (&Device, DType),
    ) -> Self {
        Self { keys_values: Tensor::zeros([rows, capacity, 2 * dim], (device, dtype)) }
    }

    /// Whether [`attend_to_past`] with so many heads is a kernel of this crate, which finds on the device
    /// how far has been read.
    pub fn has_kernel(&self, heads: usize) -> bool {
        let [_, capacity, width] = self.keys_values.dims();
        let (device, dtype) = (self.keys_values.device(), self.keys_values.dtype());
        !device.is_autodiff()
            && self.keys_values.shape().num_elements() < u32::MAX as usize
            && match Kernels::of(&device) {
                Kernels::None => false,
                Kernels::Cube => few_fit(&device, capacity, width / 2 / heads, dtype),
                Kernels::Flex => dtype == DType::F32,
            }
    }
}

impl Reading {
    /// Nothing has been read of so many texts, for each of which there is a row in the [`Past`]s.
    pub fn new(texts: usize, capacity: usize, device: &Device) -> Self {
        let rows = own_rows(texts, device).repeat_dim(1, capacity);
        let position = Tensor::full([1], -1, (device, DType::I32));
        Self { rows, position, in_order: true, length: 0 }
    }

    /// Number of tokens read.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Number of texts.
    pub fn texts(&self) -> usize {
        self.rows.dims()[0]
    }

    /// The position of the newest token, `[1]` in i32; -1 before the first.
    pub fn position(&self) -> Tensor<1, Int> {
        self.position.clone()
    }

    /// Goes on to the next token of every text.
    ///
    /// # Panics
    /// If there is no room for it.
    pub fn advance(&mut self) {
        let [_, capacity] = self.rows.dims();
        assert!(self.length < capacity, "there is no room for more than {capacity} tokens");
        self.length += 1;
        self.position = self.position.clone() + 1;
    }

    /// Goes on with the given texts only, in this order; one may come several times, if there are rows
    /// enough.
    pub fn keep(&mut self, texts: &Tensor<1, Int>) {
        let device = self.rows.device();
        let rows = self.rows.clone().select(0, texts.clone());
        let [texts, capacity] = rows.dims();
        let own = own_rows(texts, &device).expand([texts, capacity]);
        let ahead = positions(capacity, &device).greater_equal_elem(self.length as i64);
        self.rows = rows.mask_where(ahead.expand([texts, capacity]), own);
        self.in_order = false;
    }
}

/// The newest token of every text attends to all tokens of its text so far, itself among them. Its keys
/// and values are kept in `past`, which is given back.
///
/// Without gradients. On GPUs, more than 8,192 positions, or 4,096 where shared memory is scarce, and
/// heads whose size is no multiple of 4 up to 256 are computed by Burn's operations.
///
/// # Shapes
/// - `qkv`: `[texts, 1, 3 * dim]`: queries, keys and values of the token that `reading` has
///   [advanced](Reading::advance) to
/// - returns `[texts, 1, dim]`
///
/// # Panics
/// If `past` has fewer rows than there are texts, or another capacity than `reading`.
pub fn attend_to_past(
    qkv: Tensor<3>,
    past: Past,
    reading: &Reading,
    attention: &PastAttention,
) -> (Tensor<3>, Past) {
    let [rows, capacity, width] = past.keys_values.dims();
    let [texts, places] = reading.rows.dims();
    assert_eq!(qkv.dims(), [texts, 1, width / 2 * 3], "one token of each text");
    assert!(texts <= rows, "{texts} texts do not fit into {rows} rows");
    assert_eq!(places, capacity, "the past has another capacity");
    if !knows(&qkv, &past, reading, attention) {
        return plain::attend_to_past(qkv, past, reading, attention);
    }
    let rule = PastRule {
        heads: attention.heads,
        scale: attention.scale,
        biased: attention.distance_bias.is_some(),
    };
    let bias = attention.distance_bias.clone().map(Tensor::into_dispatch);
    let qkv = qkv.into_dispatch();
    let bias = bias.unwrap_or_else(|| qkv.clone());
    let (seen, keys_values) = Dispatch::attend_to_past(
        qkv,
        past.keys_values.into_dispatch(),
        reading.rows.clone().into_dispatch(),
        reading.position.clone().into_dispatch(),
        bias,
        rule,
    );
    (Tensor::from_dispatch(seen), Past { keys_values: Tensor::from_dispatch(keys_values) })
}

fn knows(qkv: &Tensor<3>, past: &Past, reading: &Reading, attention: &PastAttention) -> bool {
    let bias = attention.distance_bias.as_ref();
    past.has_kernel(attention.heads)
        && past.keys_values.dtype() == qkv.dtype()
        && [reading.rows.dtype(), reading.position.dtype()] == [DType::I32; 2]
        && bias.is_none_or(|bias| bias.dtype() == DType::F32)
        && qkv.shape().num_elements() > 0
}

/// What a kernel is told about a [`PastAttention`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PastRule {
    pub(crate) heads: usize,
    pub(crate) scale: f64,
    pub(crate) biased: bool,
}

/// `[texts, 1]`: 0, 1, ..
fn own_rows(texts: usize, device: &Device) -> Tensor<2, Int> {
    Tensor::arange(0..texts as i64, (device, DType::I32)).reshape([texts, 1])
}

/// `[1, capacity]`: 0, 1, ..
pub(crate) fn positions(capacity: usize, device: &Device) -> Tensor<2, Int> {
    Tensor::arange(0..capacity as i64, (device, DType::I32)).reshape([1, capacity])
}
