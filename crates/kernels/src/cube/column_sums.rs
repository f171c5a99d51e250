//! Sums of partial gradients, which are many short rows.

use burn::backend::cubecl::dtype_to_elem_type;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::empty;

/// Columns of a cube.
const COLUMNS: usize = 32;
/// Units that share a column.
const DEPTH: usize = 16;

/// What becomes of the sums.
pub(super) enum ColumnSums {
    /// All rows are added up; the first and the second half of the columns are two results `[columns / 2]`.
    Halves,
    /// As many rows as make the given number of groups are added up: one result, `[groups, columns]`.
    OfGroups(usize),
}

#[cube(launch)]
fn column_sums_kernel<F: Float>(
    parts: &Tensor<f32>,
    first: &mut Tensor<F>,
    second: &mut Tensor<F>,
    rows: u32,
    columns: u32,
    #[comptime] halves: bool,
    #[define(F)] _dtype: ElemType,
) {
    let mut scratch = Shared::<[f32]>::new_slice(comptime!(COLUMNS * DEPTH));
    let (unit, depth) = (UNIT_POS_X as usize, UNIT_POS_Y as usize);
    let column = CUBE_POS_X as usize * COLUMNS + unit;
    let group = CUBE_POS_Y as usize;
    let (rows, columns) = (rows as usize, columns as usize);
    let mut sum = 0.0f32;
    if column < columns {
        let mut row = depth;
        while row < rows {
            sum += parts[(group * rows + row) * columns + column];
            row += DEPTH;
        }
    }
    scratch[depth * COLUMNS + unit] = sum;
    sync_cube();
    if depth == 0 && column < columns {
        let mut total = 0.0f32;
        #[unroll]
        for i in 0..DEPTH {
            total += scratch[i * COLUMNS + unit];
        }
        if comptime!(halves) {
            let half = columns / 2;
            if column < half {
                first[column] = F::cast_from(total);
            } else {
                second[column - half] = F::cast_from(total);
            }
        } else {
            first[group * columns + column] = F::cast_from(total);
        }
    }
}

/// Sums of the rows of `parts`, `[rows, columns]` in f32, in the dtype of `like`.
pub(super) fn column_sums<const RESULTS: usize>(
    parts: CubeTensor,
    like: &CubeTensor,
    kind: ColumnSums,
) -> [CubeTensor; RESULTS] {
    let shape = parts.meta.shape();
    let (rows, columns) = (shape[0], shape[1]);
    let (groups, halves) = match kind {
        ColumnSums::Halves => (1, true),
        ColumnSums::OfGroups(groups) => (groups, false),
    };
    let results: [CubeTensor; RESULTS] = std::array::from_fn(|_| {
        if halves { empty(like, [columns / 2]) } else { empty(like, [groups, columns]) }
    });
    column_sums_kernel::launch(
        &parts.client,
        CubeCount::Static(columns.div_ceil(COLUMNS) as u32, groups as u32, 1),
        CubeDim::new_2d(COLUMNS as u32, DEPTH as u32),
        parts.clone().into_tensor_arg(),
        results[0].clone().into_tensor_arg(),
        results[RESULTS - 1].clone().into_tensor_arg(),
        (rows / groups) as u32,
        columns as u32,
        halves,
        dtype_to_elem_type(like.dtype),
    );
    results
}
