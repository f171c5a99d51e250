use rayon::prelude::*;

/// Floats of one cache line.
const GROUP: usize = 16;

/// Floats that stay in a core's own cache while their columns are gone through.
const BLOCK: usize = 1 << 16;

/// Matrices of fewer elements are not worth the division among cores.
const SMALL: usize = 1 << 16;

/// Writes the rows of `block`, which are those from `first_row` on of a matrix of `rows` rows and
/// `columns` columns, to their places in the transposed matrix.
pub(super) fn transpose_rows(
    block: &[f32],
    first_row: usize,
    rows: usize,
    columns: usize,
    transposed: &mut [f32],
) {
    if block.is_empty() {
        return;
    }
    let put = |(group, out): (usize, &mut [f32])| {
        put_columns(block, columns, group * GROUP, first_row, rows, out);
    };
    if block.len() <= SMALL {
        transposed.chunks_mut(GROUP * rows).enumerate().for_each(put);
    } else {
        transposed.par_chunks_mut(GROUP * rows).enumerate().for_each(put);
    }
}

/// Writes a few columns of `block`, from `first_column` on, to `out`, which is theirs alone.
fn put_columns(
    block: &[f32],
    columns: usize,
    first_column: usize,
    first_row: usize,
    rows: usize,
    out: &mut [f32],
) {
    let width = out.len() / rows;
    for (row, tile) in (first_row..).step_by(GROUP).zip(block.chunks(GROUP * columns)) {
        let height = tile.len() / columns;
        for column in 0..width {
            let to = &mut out[column * rows + row..][..height];
            let from = tile[first_column + column..].iter().step_by(columns);
            for (to, &from) in to.iter_mut().zip(from) {
                *to = from;
            }
        }
    }
}

/// The transpose of a matrix of `rows` rows and `columns` columns.
pub(super) fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut transposed = vec![0.0; values.len()];
    let step = (BLOCK / columns.max(1)).max(1);
    for first_row in (0..rows).step_by(step) {
        let end = rows.min(first_row + step);
        let block = &values[first_row * columns..end * columns];
        transpose_rows(block, first_row, rows, columns, &mut transposed);
    }
    transposed
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, transpose, transpose_rows};

    fn check(values: &[f32], rows: usize, columns: usize, transposed: &[f32]) {
        for row in 0..rows {
            for column in 0..columns {
                assert_eq!(transposed[column * rows + row], values[row * columns + column]);
            }
        }
    }

    #[test]
    fn every_element_finds_its_place() {
        for (rows, columns) in
            [(0, 3), (3, 0), (1, 1), (5, 17), (33, 16), (3, BLOCK + 1), (700, 300)]
        {
            let values: Vec<f32> = (0..rows * columns).map(|value| value as f32).collect();
            check(&values, rows, columns, &transpose(&values, rows, columns));
            let mut transposed = vec![0.0; values.len()];
            transpose_rows(&values, 0, rows, columns, &mut transposed);
            check(&values, rows, columns, &transposed);
        }
    }
}
