//! Layer norm and RMS norm with what surrounds them in a transformer: modulation and residual.

use rayon::prelude::*;

use super::simd::{LANES, lane_sum, mul_add, total, vectorized};

/// Rows of a task. Sums over rows are formed within tasks first, so their order does not depend on the
/// number of threads.
const ROWS: usize = 16;

/// A layer norm over rows of `dim` numbers, modulated where that is asked for:
/// `residual + norm(x) * (1 + scale) + shift`.
#[derive(Clone, Copy, Debug)]
pub(super) struct LayerNorm<'a> {
    /// `[dim]`
    pub(super) gain: &'a [f32],
    /// `[dim]`
    pub(super) bias: &'a [f32],
    pub(super) epsilon: f32,
    /// Whether the mean is taken away; RMS norm leaves it.
    pub(super) centred: bool,
    pub(super) modulation: Option<Modulation<'a>>,
}

/// Scales and then shifts of all samples, `[samples, 2 * dim]`; consecutive rows share those of a sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct Modulation<'a> {
    pub(super) scale_and_shift: &'a [f32],
}

/// Gradients of what is not a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct NormGradients {
    /// `[dim]`
    pub(super) gain: Vec<f32>,
    /// `[dim]`
    pub(super) bias: Vec<f32>,
    /// `[samples, 2 * dim]`, empty without modulation.
    pub(super) scale_and_shift: Vec<f32>,
}

/// Sums over the rows of a task: of the gradient, and of its products with the normalised rows.
struct Sums {
    sample: usize,
    plain: Vec<f32>,
    with_normal: Vec<f32>,
}

impl LayerNorm<'_> {
    /// Normalises the rows of `x` into `out`, adding those of `residual` if there is one; all
    /// `[rows, dim]`.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub(super) fn forward(&self, x: &[f32], residual: Option<&[f32]>, out: &mut [f32]) {
        let dim = self.gain.len();
        let rows_of_sample = self.check(x.len());
        assert_eq!(x.len(), out.len(), "the output is not as long as the input");
        let residual = residual.inspect(|it| assert_eq!(it.len(), x.len(), "residual length"));
        let tasks = out.par_chunks_mut(ROWS * dim).zip(x.par_chunks(ROWS * dim)).enumerate();
        tasks.for_each(|(task, (out, x))| {
            let rows = out.chunks_exact_mut(dim).zip(x.chunks_exact(dim));
            for (row, (out, x)) in (task * ROWS..).zip(rows) {
                let residual = residual.map(|residual| &residual[row * dim..(row + 1) * dim]);
                normalise(x, self.gain, self.bias, (self.epsilon, self.centred), out);
                match self.modulation_of(row / rows_of_sample) {
                    Some((scale, shift)) => modulate(out, scale, shift, residual),
                    None => add(out, residual),
                }
            }
        });
    }

    /// The gradients for that of the output, `dout`; that of the rows goes to `dx`, and the residual's is
    /// `dout` itself. All three are `[rows, dim]`.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub(super) fn backward(&self, x: &[f32], dout: &[f32], dx: &mut [f32]) -> NormGradients {
        let dim = self.gain.len();
        let rows_of_sample = self.check(x.len());
        assert_eq!([dout.len(), dx.len()], [x.len(); 2], "the lengths of gradients");
        // No task may have rows of two samples.
        let sums: Vec<Sums> = dx
            .par_chunks_mut(rows_of_sample * dim)
            .zip(x.par_chunks(rows_of_sample * dim))
            .zip(dout.par_chunks(rows_of_sample * dim))
            .enumerate()
            .flat_map(|(sample, ((dx, x), dout))| {
                dx.par_chunks_mut(ROWS * dim)
                    .zip(x.par_chunks(ROWS * dim))
                    .zip(dout.par_chunks(ROWS * dim))
                    .map(move |((dx, x), dout)| self.backward_of_task(sample, x, dout, dx))
            })
            .collect();
        self.gradients(&sums)
    }

    fn backward_of_task(&self, sample: usize, x: &[f32], dout: &[f32], dx: &mut [f32]) -> Sums {
        let dim = self.gain.len();
        let mut weight = self.gain.to_vec();
        if let Some((scale, _)) = self.modulation_of(sample) {
            weight.iter_mut().zip(scale).for_each(|(weight, scale)| *weight *= 1.0 + scale);
        }
        let mut sums = Sums { sample, plain: vec![0.0; dim], with_normal: vec![0.0; dim] };
        let mut normal = vec![0.0; dim];
        let rows = x.chunks_exact(dim).zip(dout.chunks_exact(dim)).zip(dx.chunks_exact_mut(dim));
        for ((x, dout), dx) in rows {
            backward_of_row(
                x,
                dout,
                &weight,
                (self.epsilon, self.centred),
                &mut normal,
                dx,
                &mut sums.plain,
                &mut sums.with_normal,
            );
        }
        sums
    }

    fn gradients(&self, sums: &[Sums]) -> NormGradients {
        let dim = self.gain.len();
        let modulation = self.modulation.map_or(0, |it| it.scale_and_shift.len());
        let mut all = NormGradients {
            gain: vec![0.0; dim],
            bias: vec![0.0; dim],
            scale_and_shift: vec![0.0; modulation],
        };
        for Sums { sample, plain, with_normal } in sums {
            let modulation = self.modulation_of(*sample);
            for i in 0..dim {
                let factor = modulation.map_or(1.0, |(scale, _)| 1.0 + scale[i]);
                all.gain[i] += factor * with_normal[i];
                all.bias[i] += factor * plain[i];
                if modulation.is_some() {
                    let scale = sample * 2 * dim + i;
                    all.scale_and_shift[scale] +=
                        self.gain[i] * with_normal[i] + self.bias[i] * plain[i];
                    all.scale_and_shift[scale + dim] += plain[i];
                }
            }
        }
        all
    }

    /// Scale and shift of a sample.
    fn modulation_of(&self, sample: usize) -> Option<(&[f32], &[f32])> {
        let dim = self.gain.len();
        self.modulation.as_ref().map(|modulation| {
            modulation.scale_and_shift[sample * 2 * dim..(sample + 1) * 2 * dim].split_at(dim)
        })
    }

    /// Checks the lengths and answers how many rows belong to a sample.
    fn check(&self, elements: usize) -> usize {
        let dim = self.gain.len();
        assert!(dim > 0 && self.bias.len() == dim, "gain and bias are not equally long");
        assert!(elements.is_multiple_of(dim), "the rows are not as long as the gain");
        let rows = elements / dim;
        let samples = self.modulation.map_or(1, |it| it.scale_and_shift.len() / (2 * dim));
        assert!(samples > 0 && rows.is_multiple_of(samples), "{rows} rows of {samples} samples");
        (rows / samples).max(1)
    }
}

/// Mean and inverse deviation of a row; if it is not centred, 0 and the inverse root of its mean square.
#[inline(always)]
fn moments<const FMA: bool>(x: &[f32], (epsilon, centred): (f32, bool)) -> (f32, f32) {
    let count = x.len() as f32;
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    if centred {
        for chunk in chunks {
            for i in 0..LANES {
                lanes[i] += chunk[i];
            }
        }
        lanes.iter_mut().zip(rest).for_each(|(lane, x)| *lane += x);
    }
    let mean = total(lanes) / count;
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for i in 0..LANES {
            let difference = chunk[i] - mean;
            lanes[i] = mul_add::<FMA>(difference, difference, lanes[i]);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane = mul_add::<FMA>(x - mean, x - mean, *lane);
    }
    (mean, (total(lanes) / count + epsilon).sqrt().recip())
}

vectorized! {
    fn normalise<const FMA: bool>(
        x: &[f32],
        gain: &[f32],
        bias: &[f32],
        how: (f32, bool),
        out: &mut [f32],
    ) {
        let (mean, inverse) = moments::<FMA>(x, how);
        for (((out, x), gain), bias) in out.iter_mut().zip(x).zip(gain).zip(bias) {
            *out = mul_add::<FMA>((x - mean) * inverse, *gain, *bias);
        }
    }

    fn modulate<const FMA: bool>(
        out: &mut [f32],
        scale: &[f32],
        shift: &[f32],
        residual: Option<&[f32]>,
    ) {
        match residual {
            Some(residual) => {
                let columns = out.iter_mut().zip(scale).zip(shift).zip(residual);
                for (((out, scale), shift), residual) in columns {
                    *out = mul_add::<FMA>(*out, 1.0 + scale, shift + residual);
                }
            }
            None => {
                for ((out, scale), shift) in out.iter_mut().zip(scale).zip(shift) {
                    *out = mul_add::<FMA>(*out, 1.0 + scale, *shift);
                }
            }
        }
    }

    /// The gradient of a row, `weight` being what the normalised row was multiplied with; adds to both
    /// sums. `normal` is scratch.
    fn backward_of_row<const FMA: bool>(
        x: &[f32],
        dout: &[f32],
        weight: &[f32],
        how: (f32, bool),
        normal: &mut [f32],
        dx: &mut [f32],
        plain: &mut [f32],
        with_normal: &mut [f32],
    ) {
        let (mean, inverse) = moments::<FMA>(x, how);
        let columns = x.iter().zip(dout).zip(weight).zip(normal.iter_mut()).zip(dx.iter_mut());
        let columns = columns.zip(plain).zip(with_normal);
        for ((((((x, dout), weight), normal), dx), plain), with_normal) in columns {
            *normal = (x - mean) * inverse;
            *plain += dout;
            *with_normal = mul_add::<FMA>(*dout, *normal, *with_normal);
            *dx = dout * weight;
        }
        let count = x.len() as f32;
        let (_, centred) = how;
        let mean_of_d = if centred { lane_sum::<FMA>(dout, weight) / count } else { 0.0 };
        let mean_of_product = lane_sum::<FMA>(dx, normal) / count;
        for (dx, normal) in dx.iter_mut().zip(normal) {
            *dx = inverse * (*dx - mean_of_d - *normal * mean_of_product);
        }
    }
}

fn add(out: &mut [f32], residual: Option<&[f32]>) {
    if let Some(residual) = residual {
        out.iter_mut().zip(residual).for_each(|(out, residual)| *out += residual);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Numbers, assert_close, differences, wide};
    use super::*;

    const EPSILON: f32 = 1e-5;

    /// The plain formula; `modulation` is `[samples, 2 * dim]`.
    fn plain(x: &[f64], gain: &[f64], bias: &[f64], modulation: &[f64], centred: bool) -> Vec<f64> {
        let dim = gain.len();
        let samples = modulation.len() / (2 * dim);
        let mut out = Vec::new();
        for (row, x) in x.chunks(dim).enumerate() {
            let mean = if centred { x.iter().sum::<f64>() / dim as f64 } else { 0.0 };
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / dim as f64;
            for i in 0..dim {
                let normal = (x[i] - mean) / (variance + f64::from(EPSILON)).sqrt();
                let mut y = normal * gain[i] + bias[i];
                if let Some(rows_of_sample) = ROWS_OF_TEST.checked_div(samples) {
                    let start = row / rows_of_sample * 2 * dim;
                    y = y * (1.0 + modulation[start + i]) + modulation[start + dim + i];
                }
                out.push(y);
            }
        }
        out
    }

    const ROWS_OF_TEST: usize = 40;

    /// For dims with and without a rest, with and without modulation.
    fn check(dim: usize, samples: usize, centred: bool) {
        let mut numbers = Numbers::new(3);
        let x: Vec<f32> = numbers.vector(ROWS_OF_TEST * dim).iter().map(|x| x + 5.0).collect();
        let residual = numbers.vector(x.len());
        let (gain, bias) = (numbers.vector(dim), numbers.vector(dim));
        let scale_and_shift = numbers.vector(samples * 2 * dim);
        let dout = numbers.vector(x.len());
        let modulation = Modulation { scale_and_shift: &scale_and_shift };
        let modulation = (samples > 0).then_some(modulation);
        let norm = LayerNorm { gain: &gain, bias: &bias, epsilon: EPSILON, centred, modulation };
        let plain = |x: &[f64], gain: &[f64], bias: &[f64], modulation: &[f64]| {
            plain(x, gain, bias, modulation, centred)
        };

        let mut out = vec![0.0; x.len()];
        norm.forward(&x, Some(&residual), &mut out);
        let (x64, gain64, bias64) = (wide(&x), wide(&gain), wide(&bias));
        let modulation64 = wide(&scale_and_shift);
        let mut expected = plain(&x64, &gain64, &bias64, &modulation64);
        expected.iter_mut().zip(&residual).for_each(|(y, r)| *y += f64::from(*r));
        assert_close(&out, &expected, 1e-5);

        let mut dx = vec![0.0; x.len()];
        let found = norm.backward(&x, &dout, &mut dx);
        let weighted =
            |y: Vec<f64>| y.iter().zip(&dout).map(|(y, d)| y * f64::from(*d)).sum::<f64>();
        let by_x = differences(&x64, |x| weighted(plain(x, &gain64, &bias64, &modulation64)));
        assert_close(&dx, &by_x, 1e-4);
        let by_gain =
            differences(&gain64, |gain| weighted(plain(&x64, gain, &bias64, &modulation64)));
        assert_close(&found.gain, &by_gain, 1e-4);
        let by_bias =
            differences(&bias64, |bias| weighted(plain(&x64, &gain64, bias, &modulation64)));
        assert_close(&found.bias, &by_bias, 1e-4);
        let by_modulation =
            differences(&modulation64, |it| weighted(plain(&x64, &gain64, &bias64, it)));
        assert_close(&found.scale_and_shift, &by_modulation, 1e-4);
    }

    #[test]
    fn values_and_gradients_are_those_of_the_formula() {
        for dim in [5, 64, 75] {
            for centred in [true, false] {
                check(dim, 0, centred);
                check(dim, 2, centred);
            }
        }
    }

    #[test]
    fn gradients_do_not_depend_on_the_number_of_threads() {
        let dim = 48;
        let mut numbers = Numbers::new(4);
        let (x, dout) = (numbers.vector(300 * dim), numbers.vector(300 * dim));
        let (gain, bias) = (numbers.vector(dim), numbers.vector(dim));
        let norm = LayerNorm {
            gain: &gain,
            bias: &bias,
            epsilon: EPSILON,
            centred: true,
            modulation: None,
        };
        let gradients = |threads| {
            let pool =
                rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            let mut dx = vec![0.0; x.len()];
            (pool.install(|| norm.backward(&x, &dout, &mut dx)), dx)
        };
        assert_eq!(gradients(1), gradients(3));
    }
}
