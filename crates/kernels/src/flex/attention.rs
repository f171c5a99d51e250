//! Attention of few positions, a task for each head of a sample. The backward pass computes the
//! probabilities again.

use rayon::prelude::*;

use super::dropout::Dropping;
use super::few_queries::attend;
use super::simd::{LANES, exp, lane_sum, total, vectorized};
use super::tensor::zeros;
use super::tile::add_tile;

/// Rows of a product that are computed together.
const TILE: usize = 4;

/// Where the vectors of the heads are: that of `head` at position `i` of a sample begins at
/// `sample * sample_stride + i * stride + offset + head * head_dim`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows<'a> {
    pub(super) data: &'a [f32],
    /// Positions of a sample.
    pub(super) length: usize,
    /// From one sample to the next; 0 where all are the same.
    pub(super) sample_stride: usize,
    /// From one position to the next.
    pub(super) stride: usize,
    pub(super) offset: usize,
}

/// What is added to the logits, `[batch, heads, queries, keys]` with these strides, 0 where it is
/// broadcast.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bias<'a> {
    pub(super) data: &'a [f32],
    pub(super) strides: [usize; 4],
}

/// `softmax(query * key^T * scale + bias) * value` for every head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attention<'a> {
    pub(super) query: Rows<'a>,
    pub(super) key: Rows<'a>,
    pub(super) value: Rows<'a>,
    pub(super) bias: Option<Bias<'a>>,
    pub(super) batch: usize,
    pub(super) heads: usize,
    pub(super) head_dim: usize,
    pub(super) scale: f32,
    /// Dropout of the probabilities.
    pub(super) dropping: Option<Dropping>,
}

/// Gradients of an [`Attention`].
pub(super) struct AttentionGradients {
    values: Vec<f32>,
    heads: usize,
    head_dim: usize,
    queries: usize,
    keys: usize,
}

/// What a task needs of one head.
struct Head<'a> {
    attention: &'a Attention<'a>,
    sample: usize,
    head: usize,
    /// Keys with `head_dim` rows, padded to whole lanes, `[head_dim, width]`.
    keys: Vec<f32>,
    /// Keys, padded.
    width: usize,
}

impl<'a> Rows<'a> {
    /// The vectors of a head from its first on; they follow each other at `stride`.
    fn of(&self, sample: usize, start: usize) -> &'a [f32] {
        &self.data[sample * self.sample_stride + self.offset + start..]
    }

    fn check(&self, batch: usize, dim: usize) {
        let end = match batch * self.length {
            0 => 0,
            _ => {
                let last = (batch - 1) * self.sample_stride + (self.length - 1) * self.stride;
                last + self.offset + dim
            }
        };
        assert!(end <= self.data.len(), "{end} numbers are needed, {} given", self.data.len());
    }
}

impl Attention<'_> {
    /// The attended values, to `out`, `[batch, queries, heads * head_dim]`.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub(super) fn forward(&self, out: &mut [f32]) {
        self.check(out.len());
        let (queries, head_dim) = (self.query.length, self.head_dim);
        if queries < TILE && self.dropping.is_none() {
            return self.forward_of_few(out);
        }
        let mut found = zeros(out.len());
        found.par_chunks_mut((queries * head_dim).max(1)).enumerate().for_each(|(index, out)| {
            let head = Head::new(self, index);
            let mut probabilities = head.probabilities();
            head.drop(&mut probabilities);
            let value = self.value.of(head.sample, head.head * head_dim);
            let of_rows = Left::Rows(&probabilities, head.width);
            product(of_rows, self.key.length, value, self.value.stride, out, head_dim);
        });
        let dim = self.heads * head_dim;
        merge(&found, self.heads, head_dim, queries, 0..queries, out, dim, 0);
    }

    /// The same for fewer queries than are worth a copy of the keys.
    fn forward_of_few(&self, out: &mut [f32]) {
        let (head_dim, stride) = (self.head_dim, self.key.stride);
        let starts: Vec<usize> = (0..self.key.length).map(|key| key * stride).collect();
        out.par_chunks_mut(head_dim).enumerate().for_each(|(index, out)| {
            let (row, head) = (index / self.heads, index % self.heads);
            let (sample, query) = (row / self.query.length, row % self.query.length);
            let [queries, keys, values] =
                [self.query, self.key, self.value].map(|rows| rows.of(sample, head * head_dim));
            let queries = &queries[query * self.query.stride..][..head_dim];
            let make_logits =
                |products: &mut [f32]| self.make_logits(sample, head, query, products);
            attend(queries, (keys, values), &starts, make_logits, out);
        });
    }

    /// Scales a query's products and adds their bias.
    fn make_logits(&self, sample: usize, head: usize, query: usize, products: &mut [f32]) {
        let Some(Bias { data, strides: [of_sample, of_head, of_query, of_key] }) = self.bias else {
            products.iter_mut().for_each(|product| *product *= self.scale);
            return;
        };
        let start = sample * of_sample + head * of_head + query * of_query;
        for (key, product) in products.iter_mut().enumerate() {
            *product = *product * self.scale + data[start + key * of_key];
        }
    }

    /// The gradients for that of the output, `dout`, `[batch, queries, heads * head_dim]`.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub(super) fn backward(&self, dout: &[f32]) -> AttentionGradients {
        self.check(dout.len());
        let (queries, keys) = (self.query.length, self.key.length);
        let (heads, head_dim) = (self.heads, self.head_dim);
        let length = (queries + 2 * keys) * head_dim;
        let mut values = zeros(self.batch * heads * length);
        values.par_chunks_mut(length.max(1)).enumerate().for_each(|(index, gradients)| {
            Head::new(self, index).backward(dout, gradients);
        });
        AttentionGradients { values, heads, head_dim, queries, keys }
    }

    fn check(&self, out: usize) {
        let dim = self.heads * self.head_dim;
        assert_eq!(self.key.length, self.value.length, "each key has a value");
        assert_eq!(out, self.batch * self.query.length * dim, "the length of the output");
        [self.query, self.key, self.value].iter().for_each(|rows| rows.check(self.batch, dim));
    }
}

impl AttentionGradients {
    /// The queries' gradient into rows of `stride` numbers from `offset` on; the others of `out` are left
    /// as they are.
    pub(super) fn write_query(&self, out: &mut [f32], stride: usize, offset: usize) {
        self.write(0..self.queries, out, stride, offset);
    }

    /// The keys' gradient, likewise.
    pub(super) fn write_key(&self, out: &mut [f32], stride: usize, offset: usize) {
        self.write(self.queries..self.queries + self.keys, out, stride, offset);
    }

    /// The values' gradient, likewise.
    pub(super) fn write_value(&self, out: &mut [f32], stride: usize, offset: usize) {
        self.write(self.queries + self.keys..self.rows(), out, stride, offset);
    }

    fn rows(&self) -> usize {
        self.queries + 2 * self.keys
    }

    fn write(&self, rows: std::ops::Range<usize>, out: &mut [f32], stride: usize, offset: usize) {
        merge(&self.values, self.heads, self.head_dim, self.rows(), rows, out, stride, offset);
    }
}

/// The vectors `kind` of those that every head has, `values` being `[batch, heads, rows, head_dim]`, into
/// rows of `stride` numbers, from `offset` on and head by head.
#[expect(clippy::too_many_arguments, reason = "two layouts, and no type has either")]
fn merge(
    values: &[f32],
    heads: usize,
    head_dim: usize,
    rows: usize,
    kind: std::ops::Range<usize>,
    out: &mut [f32],
    stride: usize,
    offset: usize,
) {
    if kind.is_empty() {
        return;
    }
    out.par_chunks_mut(stride).enumerate().for_each(|(position, out)| {
        let (sample, position) = (position / kind.len(), kind.start + position % kind.len());
        for (head, out) in out[offset..].chunks_exact_mut(head_dim).take(heads).enumerate() {
            let start = ((sample * heads + head) * rows + position) * head_dim;
            out.copy_from_slice(&values[start..start + head_dim]);
        }
    });
}

impl<'a> Head<'a> {
    fn new(attention: &'a Attention<'a>, index: usize) -> Self {
        let (sample, head) = (index / attention.heads, index % attention.heads);
        let head_dim = attention.head_dim;
        let keys = attention.key.of(sample, head * head_dim);
        let width = attention.key.length.next_multiple_of(LANES);
        let keys = transposed(keys, attention.key.stride, attention.key.length, head_dim, width);
        Self { attention, sample, head, keys, width }
    }

    /// `[queries, width]`, without dropout; 0 where keys are padded.
    fn probabilities(&self) -> Vec<f32> {
        let Attention { query, key, head_dim, .. } = *self.attention;
        let mut logits = vec![0.0; query.length * self.width];
        let queries = query.of(self.sample, self.head * head_dim);
        let queries = Left::Rows(queries, query.stride);
        product(queries, head_dim, &self.keys, self.width, &mut logits, self.width);
        for (row, logits) in logits.chunks_exact_mut(self.width).enumerate() {
            let (real, padding) = logits.split_at_mut(key.length);
            self.attention.make_logits(self.sample, self.head, row, real);
            padding.fill(f32::NEG_INFINITY);
            softmax(logits);
        }
        logits
    }

    /// Multiplies `[queries, width]` with the factors of dropout.
    fn drop(&self, values: &mut [f32]) {
        let Some(dropping) = self.attention.dropping else { return };
        let (queries, keys) = (self.attention.query.length, self.attention.key.length);
        let first = (self.sample * self.attention.heads + self.head) * queries;
        for (row, values) in values.chunks_exact_mut(self.width).enumerate() {
            drop_row(&mut values[..keys], (first + row) * keys, dropping);
        }
    }

    /// Gradients of queries, keys and values, one after another, for all heads' `dout`.
    fn backward(&self, dout: &[f32], gradients: &mut [f32]) {
        let Attention { query, key, value, heads, head_dim, .. } = *self.attention;
        let (queries, keys, width) = (query.length, key.length, self.width);
        let start = self.head * head_dim;
        let stride = heads * head_dim;
        let dout = &dout[self.sample * queries * stride + start..];
        let values = value.of(self.sample, start);
        let values = transposed(values, value.stride, keys, head_dim, width);
        let mut dlogits = vec![0.0; queries * width];
        let rows = Left::Rows(dout, stride);
        product(rows, head_dim, &values, width, &mut dlogits, width);
        self.drop(&mut dlogits);

        let mut probabilities = self.probabilities();
        let rows = dlogits.chunks_exact_mut(width).zip(probabilities.chunks_exact(width));
        rows.for_each(|(d, p)| softmax_gradient(p, d, self.attention.scale));
        self.drop(&mut probabilities);

        let (dquery, rest) = gradients.split_at_mut(queries * head_dim);
        let (dkey, dvalue) = rest.split_at_mut(keys * head_dim);
        let rows = Left::Rows(&dlogits, width);
        product(rows, keys, key.of(self.sample, start), key.stride, dquery, head_dim);
        let columns = Left::Columns(&dlogits, width);
        product(columns, queries, query.of(self.sample, start), query.stride, dkey, head_dim);
        let columns = Left::Columns(&probabilities, width);
        product(columns, queries, dout, stride, dvalue, head_dim);
    }
}

/// The vectors of a head as columns, `[head_dim, width]`, zeros behind the last one.
fn transposed(
    rows: &[f32],
    stride: usize,
    count: usize,
    head_dim: usize,
    width: usize,
) -> Vec<f32> {
    let mut columns = vec![0.0; head_dim * width];
    for row in 0..count {
        for (i, value) in rows[row * stride..][..head_dim].iter().enumerate() {
            columns[i * width + row] = *value;
        }
    }
    columns
}

/// The left side of a product, one of whose strides is 1.
#[derive(Clone, Copy)]
enum Left<'a> {
    /// Rows that follow each other at a stride.
    Rows(&'a [f32], usize),
    /// Columns that do.
    Columns(&'a [f32], usize),
}

impl Left<'_> {
    /// Some rows as columns; what is behind the last one has no meaning.
    #[inline(always)]
    fn pack(self, first: usize, rows: usize, packed: &mut [[f32; TILE]]) {
        match self {
            Left::Rows(data, stride) => {
                // Rows that there are not are packed as the last one, and not used.
                let row = |row: usize| &data[(first + row.min(rows - 1)) * stride..];
                let rows: [&[f32]; TILE] = std::array::from_fn(|i| &row(i)[..packed.len()]);
                for (i, packed) in packed.iter_mut().enumerate() {
                    *packed = rows.map(|row| row[i]);
                }
            }
            Left::Columns(data, stride) => {
                for (packed, column) in packed.iter_mut().zip(data.chunks(stride)) {
                    packed[..rows].copy_from_slice(&column[first..first + rows]);
                }
            }
        }
    }
}

vectorized! {
    /// `a`, `[rows, inner]`, times `b`, whose rows follow each other at `b_stride`, to `out`,
    /// `[rows, columns]`.
    fn product<const FMA: bool>(
        a: Left<'_>,
        inner: usize,
        b: &[f32],
        b_stride: usize,
        out: &mut [f32],
        columns: usize,
    ) {
        let mut packed = vec![[0.0; TILE]; inner];
        for (group, out) in out.chunks_mut(TILE * columns).enumerate() {
            a.pack(group * TILE, out.len() / columns, &mut packed);
            let mut column = 0;
            while column + LANES <= columns {
                let mut sums = [[0.0; LANES]; TILE];
                add_tile::<FMA, TILE>(&packed, &b[column..], b_stride, &mut sums);
                for (out, sums) in out.chunks_exact_mut(columns).zip(&sums) {
                    out[column..column + LANES].copy_from_slice(sums);
                }
                column += LANES;
            }
            for (row, out) in out.chunks_exact_mut(columns).enumerate() {
                for (column, out) in out.iter_mut().enumerate().skip(column) {
                    let terms = packed.iter().enumerate();
                    *out = terms.map(|(i, a)| a[row] * b[i * b_stride + column]).sum();
                }
            }
        }
    }

    /// Softmax of a row that is padded to whole lanes with negative infinity.
    pub(super) fn softmax<const FMA: bool>(logits: &mut [f32]) {
        let (chunks, _) = logits.as_chunks_mut::<LANES>();
        let mut largest = [f32::NEG_INFINITY; LANES];
        for chunk in chunks.iter() {
            largest.iter_mut().zip(chunk).for_each(|(largest, x)| *largest = largest.max(*x));
        }
        let largest = largest.into_iter().fold(f32::NEG_INFINITY, f32::max);
        let mut sums = [0.0; LANES];
        for chunk in chunks.iter_mut() {
            for (sum, x) in sums.iter_mut().zip(chunk) {
                *x = exp::<FMA>(*x - largest);
                *sum += *x;
            }
        }
        let inverse = 1.0 / total(sums);
        logits.iter_mut().for_each(|x| *x *= inverse);
    }

    /// Turns the gradient `d` of a row of probabilities `p` into that of the products.
    fn softmax_gradient<const FMA: bool>(p: &[f32], d: &mut [f32], scale: f32) {
        let dot = lane_sum::<FMA>(p, d);
        for (d, p) in d.iter_mut().zip(p) {
            *d = p * (*d - dot) * scale;
        }
    }

    fn drop_row<const FMA: bool>(row: &mut [f32], first: usize, dropping: Dropping) {
        for (index, value) in (first as u32..).zip(row) {
            *value *= dropping.factor(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Numbers, assert_close, differences, wide};
    use super::*;

    /// Self-attention over a fused `[batch, length, 3 * dim]`.
    struct Case {
        batch: usize,
        length: usize,
        heads: usize,
        head_dim: usize,
        bias: Vec<f32>,
        strides: [usize; 4],
        dropping: Option<Dropping>,
    }

    const SCALE: f32 = 0.4;

    impl Case {
        fn new(length: usize, head_dim: usize, dropping: Option<Dropping>) -> Self {
            let (batch, heads) = (2, 3);
            let mut bias = Numbers::new(6).vector(heads * length * length);
            bias[1] = -1e30;
            let strides = [0, length * length, length, 1];
            Self { batch, length, heads, head_dim, bias, strides, dropping }
        }

        fn dim(&self) -> usize {
            self.heads * self.head_dim
        }

        fn attention<'a>(&'a self, qkv: &'a [f32]) -> Attention<'a> {
            let (length, stride) = (self.length, 3 * self.dim());
            let sample_stride = length * stride;
            let rows = |offset| Rows { data: qkv, length, sample_stride, stride, offset };
            Attention {
                query: rows(0),
                key: rows(self.dim()),
                value: rows(2 * self.dim()),
                bias: Some(Bias { data: &self.bias, strides: self.strides }),
                batch: self.batch,
                heads: self.heads,
                head_dim: self.head_dim,
                scale: SCALE,
                dropping: self.dropping,
            }
        }

        fn at(&self, kind: usize, sample: usize, position: usize, head: usize) -> usize {
            (sample * self.length + position) * 3 * self.dim()
                + kind * self.dim()
                + head * self.head_dim
        }

        fn plain(&self, qkv: &[f64]) -> Vec<f64> {
            let Case { batch, length, heads, head_dim, .. } = *self;
            let mut out = vec![0.0; batch * length * self.dim()];
            for (sample, head, query) in (0..batch).flat_map(|sample| {
                (0..heads).flat_map(move |head| (0..length).map(move |query| (sample, head, query)))
            }) {
                let q = self.at(0, sample, query, head);
                let weights: Vec<f64> = (0..length)
                    .map(|key| {
                        let k = self.at(1, sample, key, head);
                        let dot: f64 = (0..head_dim).map(|i| qkv[q + i] * qkv[k + i]).sum();
                        let bias = self.bias[(head * length + query) * length + key];
                        (dot * f64::from(SCALE) + f64::from(bias)).exp()
                    })
                    .collect();
                let total: f64 = weights.iter().sum();
                for (key, weight) in weights.iter().enumerate() {
                    let index = ((sample * heads + head) * length + query) * length + key;
                    let factor = self.dropping.map_or(1.0, |it| it.factor(index as u32));
                    let v = self.at(2, sample, key, head);
                    for i in 0..head_dim {
                        out[(sample * length + query) * self.dim() + head * head_dim + i] +=
                            weight / total * f64::from(factor) * qkv[v + i];
                    }
                }
            }
            out
        }

        fn check(&self) {
            let mut numbers = Numbers::new(7);
            let qkv = numbers.vector(self.batch * self.length * 3 * self.dim());
            let dout = numbers.vector(self.batch * self.length * self.dim());
            let attention = self.attention(&qkv);
            let mut out = vec![0.0; dout.len()];
            attention.forward(&mut out);
            assert_close(&out, &self.plain(&wide(&qkv)), 1e-5);

            let gradients = attention.backward(&dout);
            let mut dqkv = vec![0.0; qkv.len()];
            let stride = 3 * self.dim();
            gradients.write_query(&mut dqkv, stride, 0);
            gradients.write_key(&mut dqkv, stride, self.dim());
            gradients.write_value(&mut dqkv, stride, 2 * self.dim());
            let expected = differences(&wide(&qkv), |qkv| {
                self.plain(qkv).iter().zip(&dout).map(|(y, d)| y * f64::from(*d)).sum()
            });
            assert_close(&dqkv, &expected, 2e-5);
        }
    }

    #[test]
    fn values_and_gradients_are_those_of_the_formula() {
        let dropping = Some(Dropping::new(0.7, 3, u32::MAX / 5, 1.25));
        for dropping in [None, dropping] {
            for (length, head_dim) in [(5, 3), (6, 32), (33, 5)] {
                Case::new(length, head_dim, dropping).check();
            }
        }
    }

    #[test]
    fn queries_may_be_fewer_than_keys() {
        let (queries, keys, head_dim) = (2, 40, 64);
        let mut numbers = Numbers::new(8);
        let (q, kv) = (numbers.vector(queries * head_dim), numbers.vector(keys * 2 * head_dim));
        let stride = 2 * head_dim;
        let rows =
            |offset| Rows { data: &kv, length: keys, sample_stride: keys * stride, stride, offset };
        let attention = Attention {
            query: Rows {
                data: &q,
                length: queries,
                sample_stride: queries * head_dim,
                stride: head_dim,
                offset: 0,
            },
            key: rows(0),
            value: rows(head_dim),
            bias: None,
            batch: 1,
            heads: 1,
            head_dim,
            scale: 0.125,
            dropping: None,
        };
        let plain = |q: &[f64]| -> Vec<f64> {
            q.chunks(head_dim)
                .flat_map(|q| {
                    let key = |key: usize| &kv[key * 2 * head_dim..][..head_dim];
                    let dot =
                        |k: &[f32]| q.iter().zip(k).map(|(q, k)| q * f64::from(*k)).sum::<f64>();
                    let weights: Vec<f64> =
                        (0..keys).map(|i| (dot(key(i)) * 0.125).exp()).collect();
                    let total: f64 = weights.iter().sum();
                    let kv = &kv;
                    (0..head_dim).map(move |i| {
                        let value = |key: usize| f64::from(kv[(2 * key + 1) * head_dim + i]);
                        (0..keys).map(|key| weights[key] / total * value(key)).sum()
                    })
                })
                .collect()
        };
        let mut out = vec![0.0; q.len()];
        attention.forward(&mut out);
        assert_close(&out, &plain(&wide(&q)), 1e-5);
        let mut dq = vec![0.0; q.len()];
        attention.backward(&vec![1.0; q.len()]).write_query(&mut dq, head_dim, 0);
        let expected = differences(&wide(&q), |q| plain(q).iter().sum());
        assert_close(&dq, &expected, 2e-5);
    }
}
