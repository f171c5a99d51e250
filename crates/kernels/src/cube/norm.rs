//! Layer norm and RMS norm with what surrounds them in a transformer: one row of `x` for each group of 32 units, the whole
//! row in registers.

use burn::backend::cubecl::dtype_to_elem_type;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::column_sums::{ColumnSums, column_sums};
use super::{empty, empty_f32, has_planes_of_32, width_of_vectors};

/// Units that share a row.
const LANES: usize = 32;
/// How often they can be halved.
const HALVINGS: usize = 5;
/// Rows that a cube works on at a time.
const ROWS: usize = 4;

/// What a norm is told.
pub(super) struct Parameters {
    /// `[dim]`
    pub(super) gain: CubeTensor,
    /// `[dim]`; without it the norm is RMS norm, which leaves rows their mean.
    pub(super) bias: Option<CubeTensor>,
    pub(super) epsilon: f64,
}

/// What a norm is a part of: `norm(x + residual)`, or `residual + norm(x) * (1 + scale) + shift` if it is
/// modulated.
#[derive(Default)]
pub(super) struct Surroundings {
    /// `[rows, dim]`; the gradient of a modulated norm does not need it.
    pub(super) residual: Option<CubeTensor>,
    /// `[samples, 2 * dim]`
    pub(super) scale_and_shift: Option<CubeTensor>,
}

/// Sum over the units of a row.
#[cube]
fn row_sum(value: f32, scratch: &mut Shared<[f32]>, #[comptime] planes: bool) -> f32 {
    if comptime!(planes) {
        plane_sum(value)
    } else {
        let first = UNIT_POS_Y as usize * LANES;
        let unit = UNIT_POS_X as usize;
        scratch[first + unit] = value;
        sync_cube();
        #[unroll]
        for step in 0..HALVINGS {
            let half = comptime!(LANES >> (step + 1));
            if unit < half {
                let other = scratch[first + unit + half];
                scratch[first + unit] += other;
            }
            sync_cube();
        }
        let sum = scratch[first];
        sync_cube();
        sum
    }
}

/// Mean and inverse deviation of a row in registers; of RMS norm, 0 and the inverse root.
#[cube]
fn moments<N: Size>(
    row: &Array<Vector<f32, N>>,
    epsilon: f32,
    scratch: &mut Shared<[f32]>,
    #[comptime] vectors: usize,
    #[comptime] dim: usize,
    #[comptime] centred: bool,
    #[comptime] planes: bool,
) -> (f32, f32) {
    let mut mean = 0.0f32.runtime();
    if comptime!(centred) {
        let mut sum = Vector::<f32, N>::new(0.0f32);
        #[unroll]
        for i in 0..vectors {
            sum += row[i];
        }
        mean = row_sum(Vector::vector_sum(sum), scratch, planes) / f32::cast_from(dim as u32);
    }
    let mut squares = Vector::<f32, N>::new(0.0f32);
    #[unroll]
    for i in 0..vectors {
        let difference = row[i] - Vector::new(mean);
        squares += difference * difference;
    }
    let variance =
        row_sum(Vector::vector_sum(squares), scratch, planes) / f32::cast_from(dim as u32);
    (mean, 1.0f32 / f32::sqrt(variance + epsilon))
}

#[cube(launch)]
fn norm_kernel<F: Float, N: Size>(
    x: &Tensor<Vector<F, N>>,
    gain: &Tensor<Vector<F, N>>,
    bias: &Tensor<Vector<F, N>>,
    scale_and_shift: &Tensor<Vector<F, N>>,
    residual: &Tensor<Vector<F, N>>,
    y: &mut Tensor<Vector<F, N>>,
    rows: u32,
    rows_of_sample: u32,
    epsilon: f32,
    #[comptime] dim: usize,
    #[comptime] vectors: usize,
    #[comptime] centred: bool,
    #[comptime] summed: bool,
    #[comptime] modulated: bool,
    #[comptime] planes: bool,
    #[define(F)] _dtype: ElemType,
) {
    let mut scratch = Shared::<[f32]>::new_slice(comptime!(LANES * ROWS));
    let place = CUBE_POS_X * (ROWS as u32) + UNIT_POS_Y;
    // All units of a cube take part in its sums; those beyond the last row repeat it.
    let row = u32::min(place, rows - 1);
    let first = row as usize * vectors * LANES + UNIT_POS_X as usize;
    let mut values = Array::<Vector<f32, N>>::new(vectors);
    #[unroll]
    for i in 0..vectors {
        values[i] = Vector::cast_from(x[first + i * LANES]);
        if comptime!(summed) {
            values[i] += Vector::cast_from(residual[first + i * LANES]);
        }
    }
    let (mean, inverse) =
        moments::<N>(&values, epsilon, &mut scratch, vectors, dim, centred, planes);
    if place < rows {
        let sample = (row / rows_of_sample) as usize * 2 * vectors * LANES + UNIT_POS_X as usize;
        #[unroll]
        for i in 0..vectors {
            let column = UNIT_POS_X as usize + i * LANES;
            let normal = (values[i] - Vector::new(mean)) * Vector::new(inverse);
            let mut out = normal * Vector::cast_from(gain[column]);
            if comptime!(centred) {
                out += Vector::cast_from(bias[column]);
            }
            if comptime!(modulated) {
                let scale = Vector::<f32, N>::cast_from(scale_and_shift[sample + i * LANES]);
                let shift =
                    Vector::<f32, N>::cast_from(scale_and_shift[sample + (vectors + i) * LANES]);
                let before = Vector::<f32, N>::cast_from(residual[first + i * LANES]);
                out = before + out * (scale + Vector::new(1.0f32)) + shift;
            }
            y[first + i * LANES] = Vector::cast_from(out);
        }
    }
}

/// `x` `[.., dim]` normalised, with what surrounds that; in `x`'s dtype, computed in f32.
pub(super) fn norm(
    x: CubeTensor,
    parameters: Parameters,
    surroundings: Surroundings,
) -> CubeTensor {
    let Parameters { gain, bias, epsilon } = parameters;
    let [x, gain] = [x, gain].map(into_contiguous);
    let centred = bias.is_some();
    let bias = bias.map_or_else(|| gain.clone(), into_contiguous);
    let y = empty(&x, x.meta.shape().clone());
    let client = x.client.clone();
    let Surroundings { residual, scale_and_shift } = surroundings;
    let sizes = Sizes::new(&x, scale_and_shift.as_ref());
    let modulated = scale_and_shift.is_some();
    let summed = residual.is_some() && !modulated;
    let residual = residual.map_or_else(|| x.clone(), into_contiguous);
    let scale_and_shift = scale_and_shift.map_or_else(|| gain.clone(), into_contiguous);
    norm_kernel::launch(
        &client,
        CubeCount::Static(sizes.rows.div_ceil(ROWS) as u32, 1, 1),
        CubeDim::new_2d(LANES as u32, ROWS as u32),
        sizes.width,
        x.clone().into_tensor_arg(),
        gain.into_tensor_arg(),
        bias.into_tensor_arg(),
        scale_and_shift.into_tensor_arg(),
        residual.into_tensor_arg(),
        y.clone().into_tensor_arg(),
        sizes.rows as u32,
        sizes.rows_of_sample as u32,
        epsilon as f32,
        sizes.dim,
        sizes.vectors,
        centred,
        summed,
        modulated,
        has_planes_of_32(&client),
        dtype_to_elem_type(x.dtype),
    );
    y
}

#[cube(launch)]
fn norm_gradients_kernel<F: Float, N: Size>(
    x: &Tensor<Vector<F, N>>,
    gain: &Tensor<Vector<F, N>>,
    bias: &Tensor<Vector<F, N>>,
    scale_and_shift: &Tensor<Vector<F, N>>,
    residual: &Tensor<Vector<F, N>>,
    dy: &Tensor<Vector<F, N>>,
    dx: &mut Tensor<Vector<F, N>>,
    of_parameters: &mut Tensor<Vector<f32, N>>,
    of_modulation: &mut Tensor<Vector<f32, N>>,
    rows: u32,
    rows_of_group: u32,
    epsilon: f32,
    #[comptime] dim: usize,
    #[comptime] vectors: usize,
    #[comptime] centred: bool,
    #[comptime] summed: bool,
    #[comptime] modulated: bool,
    #[comptime] planes: bool,
    #[define(F)] _dtype: ElemType,
) {
    let mut scratch = Shared::<[f32]>::new_slice(comptime!(LANES * ROWS));
    let unit = UNIT_POS_X as usize;
    let zero = Vector::<f32, N>::new(0.0f32);
    let mut dgain = Array::<Vector<f32, N>>::new(vectors);
    let mut dbias = Array::<Vector<f32, N>>::new(vectors);
    let mut dscale = Array::<Vector<f32, N>>::new(vectors);
    let mut dshift = Array::<Vector<f32, N>>::new(vectors);
    #[unroll]
    for i in 0..vectors {
        dgain[i] = zero;
        dbias[i] = zero;
        dscale[i] = zero;
        dshift[i] = zero;
    }
    let sample = CUBE_POS_X as usize * 2 * vectors * LANES + unit;
    let steps = rows_of_group.div_ceil(ROWS as u32);
    for step in 0..steps {
        let within = step * (ROWS as u32) + UNIT_POS_Y;
        let place = CUBE_POS_X * rows_of_group + within;
        let counts = within < rows_of_group && place < rows;
        let row = u32::min(place, rows - 1);
        let first = row as usize * vectors * LANES + unit;
        let mut normal = Array::<Vector<f32, N>>::new(vectors);
        #[unroll]
        for i in 0..vectors {
            normal[i] = Vector::cast_from(x[first + i * LANES]);
            if comptime!(summed) {
                normal[i] += Vector::cast_from(residual[first + i * LANES]);
            }
        }
        let (mean, inverse) =
            moments::<N>(&normal, epsilon, &mut scratch, vectors, dim, centred, planes);
        let mut dnormal = Array::<Vector<f32, N>>::new(vectors);
        let mut sum = Vector::<f32, N>::new(0.0f32);
        let mut product = Vector::<f32, N>::new(0.0f32);
        #[unroll]
        for i in 0..vectors {
            let column = unit + i * LANES;
            normal[i] = (normal[i] - Vector::new(mean)) * Vector::new(inverse);
            let mut d = Vector::<f32, N>::new(0.0f32);
            if counts {
                d = Vector::cast_from(dy[first + i * LANES]);
            }
            let gains = Vector::<f32, N>::cast_from(gain[column]);
            if comptime!(modulated) {
                let plain = normal[i] * gains + Vector::cast_from(bias[column]);
                let scale = Vector::<f32, N>::cast_from(scale_and_shift[sample + i * LANES]);
                dscale[i] += d * plain;
                dshift[i] += d;
                d *= scale + Vector::new(1.0f32);
            }
            dgain[i] += d * normal[i];
            dbias[i] += d;
            d *= gains;
            sum += d;
            product += d * normal[i];
            dnormal[i] = d;
        }
        let count = f32::cast_from(dim as u32);
        let mut mean_d = 0.0f32.runtime();
        if comptime!(centred) {
            mean_d = row_sum(Vector::vector_sum(sum), &mut scratch, planes) / count;
        }
        let mean_product = row_sum(Vector::vector_sum(product), &mut scratch, planes) / count;
        if counts {
            #[unroll]
            for i in 0..vectors {
                let centred =
                    dnormal[i] - Vector::new(mean_d) - normal[i] * Vector::new(mean_product);
                dx[first + i * LANES] = Vector::cast_from(centred * Vector::new(inverse));
            }
        }
    }
    let part = (CUBE_POS_X as usize * ROWS + UNIT_POS_Y as usize) * 2 * vectors * LANES + unit;
    #[unroll]
    for i in 0..vectors {
        of_parameters[part + i * LANES] = dgain[i];
        of_parameters[part + (vectors + i) * LANES] = dbias[i];
        if comptime!(modulated) {
            of_modulation[part + i * LANES] = dscale[i];
            of_modulation[part + (vectors + i) * LANES] = dshift[i];
        }
    }
}

/// Gradients of [`norm`].
pub(super) struct NormGradients {
    /// Of the rows, or of both terms of their sum.
    pub(super) x: CubeTensor,
    pub(super) gain: CubeTensor,
    /// 0 in RMS norm.
    pub(super) bias: CubeTensor,
    /// Of the scale and the shift, `[samples, 2 * dim]`.
    pub(super) modulation: Option<CubeTensor>,
}

/// The gradients for `dy` of a norm and what surrounds it; that of a modulated norm's residual is `dy`.
pub(super) fn norm_gradients(
    x: CubeTensor,
    parameters: Parameters,
    surroundings: Surroundings,
    dy: CubeTensor,
) -> NormGradients {
    /// Rows of a cube where no sample decides it.
    const GROUP: usize = 32;

    let Parameters { gain, bias, epsilon } = parameters;
    let [x, gain, dy] = [x, gain, dy].map(into_contiguous);
    let Surroundings { residual, scale_and_shift } = surroundings;
    let (centred, modulated) = (bias.is_some(), scale_and_shift.is_some());
    let summed = residual.is_some() && !modulated;
    let bias = bias.map_or_else(|| gain.clone(), into_contiguous);
    let residual = residual.map_or_else(|| x.clone(), into_contiguous);
    let scale_and_shift = scale_and_shift.map(into_contiguous);
    let client = x.client.clone();
    let sizes = Sizes::new(&x, scale_and_shift.as_ref());
    let group = if modulated { sizes.rows_of_sample } else { GROUP };
    let groups = sizes.rows.div_ceil(group);
    let partial = |parts: usize| empty_f32(&x, [parts, 2 * sizes.dim]);
    let of_parameters = partial(groups * ROWS);
    let of_modulation = partial(if modulated { groups * ROWS } else { 1 });
    let dx = empty(&x, x.meta.shape().clone());
    norm_gradients_kernel::launch(
        &client,
        CubeCount::Static(groups as u32, 1, 1),
        CubeDim::new_2d(LANES as u32, ROWS as u32),
        sizes.width,
        x.clone().into_tensor_arg(),
        gain.clone().into_tensor_arg(),
        bias.clone().into_tensor_arg(),
        scale_and_shift.unwrap_or_else(|| gain.clone()).into_tensor_arg(),
        residual.into_tensor_arg(),
        dy.into_tensor_arg(),
        dx.clone().into_tensor_arg(),
        of_parameters.clone().into_tensor_arg(),
        of_modulation.clone().into_tensor_arg(),
        sizes.rows as u32,
        group as u32,
        epsilon as f32,
        sizes.dim,
        sizes.vectors,
        centred,
        summed,
        modulated,
        has_planes_of_32(&client),
        dtype_to_elem_type(x.dtype),
    );
    let [dgain, dbias] = column_sums(of_parameters, &gain, ColumnSums::Halves);
    let modulation = modulated.then(|| {
        let [sums] = column_sums(of_modulation, &gain, ColumnSums::OfGroups(groups));
        sums
    });
    NormGradients { x: dx, gain: dgain, bias: dbias, modulation }
}

/// How a tensor is divided among units.
struct Sizes {
    rows: usize,
    dim: usize,
    rows_of_sample: usize,
    /// Elements of a vector.
    width: usize,
    /// Vectors of a unit.
    vectors: usize,
}

impl Sizes {
    fn new(x: &CubeTensor, scale_and_shift: Option<&CubeTensor>) -> Self {
        let shape = x.meta.shape();
        let dim = shape[shape.num_dims() - 1];
        let rows = shape.num_elements() / dim;
        let samples = scale_and_shift.map_or(1, |it| it.meta.shape()[0]);
        let width = width_of_vectors(dim / LANES, x.dtype.size());
        Self { rows, dim, rows_of_sample: rows / samples, width, vectors: dim / LANES / width }
    }
}
