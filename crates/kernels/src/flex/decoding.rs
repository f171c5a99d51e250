//! The attention of a decoder's newest tokens to what they follow, a task for each head of a text.

use rayon::prelude::*;

use super::few_queries::attend;

/// Keys and values of earlier tokens, and where those of a batch of texts are.
pub(super) struct Past<'a> {
    /// `[rows, capacity, 2 * dim]`
    pub(super) keys_values: &'a mut [f32],
    pub(super) capacity: usize,
    /// Of each text's tokens, `[texts, capacity]`.
    pub(super) rows: &'a [i32],
    /// Of the newest tokens, whose row is that of the text.
    pub(super) position: usize,
}

/// How the newest tokens attend.
pub(super) struct PastAttention<'a> {
    pub(super) heads: usize,
    pub(super) scale: f32,
    /// What is added to a logit of each head at each distance, `[heads, capacity]`.
    pub(super) bias: Option<&'a [f32]>,
}

impl PastAttention<'_> {
    /// What the newest tokens see, to `out`, `[texts, dim]`, for their `qkv`, `[texts, 3 * dim]`; their
    /// keys and values are written into the past.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub(super) fn forward(&self, qkv: &[f32], past: Past<'_>, out: &mut [f32]) {
        let Past { keys_values, capacity, rows, position } = past;
        let texts = rows.len() / capacity;
        let dim = out.len() / texts;
        assert_eq!(qkv.len(), texts * 3 * dim, "the lengths do not fit");
        let newest = keys_values.chunks_exact_mut(capacity * 2 * dim);
        for (row, qkv) in newest.zip(qkv.chunks_exact(3 * dim)) {
            row[position * 2 * dim..][..2 * dim].copy_from_slice(&qkv[dim..]);
        }
        let keys_values = &*keys_values;
        let head_dim = dim / self.heads;
        out.par_chunks_mut(head_dim).enumerate().for_each(|(index, out)| {
            let (text, head) = (index / self.heads, index % self.heads);
            let rows = &rows[text * capacity..][..=position];
            let first = head * head_dim;
            let start =
                |(key, row): (usize, &i32)| (*row as usize * capacity + key) * 2 * dim + first;
            let starts: Vec<usize> = rows.iter().enumerate().map(start).collect();
            let query = &qkv[text * 3 * dim + first..][..head_dim];
            let halves = (keys_values, &keys_values[dim..]);
            attend(query, halves, &starts, |it| self.make_logits(head, it), out);
        });
    }

    /// Scales the products with all keys and adds the bias.
    fn make_logits(&self, head: usize, logits: &mut [f32]) {
        logits.iter_mut().for_each(|logit| *logit *= self.scale);
        let Some(bias) = self.bias else { return };
        let capacity = bias.len() / self.heads;
        let by_distance = &bias[head * capacity..][..logits.len()];
        logits.iter_mut().zip(by_distance.iter().rev()).for_each(|(logit, bias)| *logit += bias);
    }
}
