//! AdamW with clipping and running average, in one parallel pass over flat vectors.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::simd::{lane_sum, mul_add, vectorized};
use super::tensor::filled;

/// Elements of a task: its five pieces fit into a core's second-level cache together.
const CHUNK: usize = 1 << 14;

/// What a step multiplies with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct AdamWFactors {
    /// Decay of the first moment.
    pub(super) beta_1: f32,
    /// Decay of the second moment.
    pub(super) beta_2: f32,
    /// Added to the root of the corrected second moment.
    pub(super) epsilon: f32,
    /// The learning rate.
    pub(super) learning_rate: f32,
    /// `learning_rate * weight_decay`, for elements that are decayed.
    pub(super) decay: f32,
    /// `1 / (1 - beta_1^time)`
    pub(super) correction_1: f32,
    /// `1 / (1 - beta_2^time)`
    pub(super) correction_2: f32,
    /// What clipping multiplies the gradient with, at most 1.
    pub(super) gradient_scale: f32,
    /// Decay of the running average; 0 copies the parameters.
    pub(super) average_decay: f32,
}

/// What a step reads and updates beside the parameters, all `[len]`; all but the gradient in place.
pub(super) struct AdamWVectors<'a> {
    pub(super) gradient: &'a [f32],
    pub(super) moment_1: &'a mut [f32],
    pub(super) moment_2: &'a mut [f32],
    /// The running average of the parameters, if there is one.
    pub(super) average: Option<&'a mut [f32]>,
}

/// One step of AdamW, in place. Weight decay acts on the elements between an even and an odd one of the
/// ascending `borders`, counted from 0.
///
/// # Panics
/// If the vectors are not equally long.
pub(super) fn adamw(
    parameters: &mut [f32],
    vectors: AdamWVectors<'_>,
    borders: &[usize],
    factors: &AdamWFactors,
) {
    let len = parameters.len();
    step_chunks(parameters.par_chunks_mut(CHUNK), len, vectors, borders, factors);
}

/// The same for parameters that others hold: answers with those after the step.
///
/// # Panics
/// If the vectors are not equally long.
pub(super) fn adamw_of_copy(
    parameters: &[f32],
    vectors: AdamWVectors<'_>,
    borders: &[usize],
    factors: &AdamWFactors,
) -> Vec<f32> {
    let len = parameters.len();
    let fill = |copy: &mut [MaybeUninit<f32>]| {
        let chunks = copy
            .par_chunks_mut(CHUNK)
            .zip(parameters.par_chunks(CHUNK))
            .map(|(copy, chunk)| copy.write_copy_of_slice(chunk));
        step_chunks(chunks, len, vectors, borders, factors);
    };
    // SAFETY: the chunks are all of the memory, and every one of them is stepped.
    unsafe { filled(len, fill) }
}

/// Steps the chunks of parameters of a length.
fn step_chunks<'a>(
    parameters: impl IndexedParallelIterator<Item = &'a mut [f32]>,
    len: usize,
    vectors: AdamWVectors<'_>,
    borders: &[usize],
    factors: &AdamWFactors,
) {
    let AdamWVectors { gradient, moment_1, moment_2, average } = vectors;
    let lengths = [gradient.len(), moment_1.len(), moment_2.len()];
    assert_eq!(lengths, [len; 3], "the vectors are not equally long");
    let chunks = parameters
        .zip(gradient.par_chunks(CHUNK))
        .zip(moment_1.par_chunks_mut(CHUNK))
        .zip(moment_2.par_chunks_mut(CHUNK))
        .enumerate();
    match average {
        None => chunks.for_each(|(index, (((p, g), m), v))| {
            step_chunk(index * CHUNK, p, g, m, v, borders, factors);
        }),
        Some(average) => {
            assert_eq!(average.len(), len, "the vectors are not equally long");
            chunks.zip(average.par_chunks_mut(CHUNK)).for_each(
                |((index, (((p, g), m), v)), average)| {
                    step_chunk(index * CHUNK, p, g, m, v, borders, factors);
                    blend(average, p, factors.average_decay);
                },
            );
        }
    }
}

/// The sum of the squares of all elements, the same for any number of threads.
pub(super) fn squared_norm(gradient: &[f32]) -> f64 {
    let parts: Vec<f64> =
        gradient.par_chunks(CHUNK).map(|chunk| f64::from(sum_of_squares(chunk))).collect();
    parts.into_iter().sum()
}

/// Steps a chunk that starts at `start`, in pieces that are decayed or not.
fn step_chunk(
    start: usize,
    parameters: &mut [f32],
    gradient: &[f32],
    moment_1: &mut [f32],
    moment_2: &mut [f32],
    borders: &[usize],
    factors: &AdamWFactors,
) {
    let mut done = 0;
    while done < parameters.len() {
        let next = borders.partition_point(|&border| border <= start + done);
        let decay = if next % 2 == 1 { factors.decay } else { 0.0 };
        let end = borders.get(next).map_or(usize::MAX, |border| border - start);
        let piece = done..end.min(parameters.len());
        done = piece.end;
        step_piece(
            &mut parameters[piece.clone()],
            &gradient[piece.clone()],
            &mut moment_1[piece.clone()],
            &mut moment_2[piece],
            decay,
            factors,
        );
    }
}

vectorized! {
    fn step_piece<const FMA: bool>(
        parameters: &mut [f32],
        gradient: &[f32],
        moment_1: &mut [f32],
        moment_2: &mut [f32],
        decay: f32,
        factors: &AdamWFactors,
    ) {
        let AdamWFactors { beta_1, beta_2, epsilon, correction_2, gradient_scale, .. } = *factors;
        let rate = factors.learning_rate * factors.correction_1;
        let elements = parameters.iter_mut().zip(gradient).zip(moment_1).zip(moment_2);
        for (((p, g), m), v) in elements {
            let g = g * gradient_scale;
            *m = mul_add::<FMA>(beta_1, *m, (1.0 - beta_1) * g);
            *v = mul_add::<FMA>(beta_2, *v, (1.0 - beta_2) * g * g);
            let deviation = (*v * correction_2).sqrt() + epsilon;
            *p = mul_add::<FMA>(-decay, *p, *p) - rate * *m / deviation;
        }
    }

    fn blend<const FMA: bool>(average: &mut [f32], parameters: &[f32], decay: f32) {
        for (average, p) in average.iter_mut().zip(parameters) {
            *average = mul_add::<FMA>(decay, *average, (1.0 - decay) * p);
        }
    }

    fn sum_of_squares<const FMA: bool>(values: &[f32]) -> f32 {
        lane_sum::<FMA>(values, values)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Numbers, assert_close};
    use super::*;

    const FACTORS: AdamWFactors = AdamWFactors {
        beta_1: 0.9,
        beta_2: 0.99,
        epsilon: 1e-8,
        learning_rate: 0.01,
        decay: 0.002,
        correction_1: 1.0 / (1.0 - 0.81),
        correction_2: 1.0 / (1.0 - 0.9801),
        gradient_scale: 0.5,
        average_decay: 0.75,
    };

    #[test]
    fn a_step_has_its_closed_form() {
        // Pieces begin and end within chunks and on their borders.
        let borders = [3, 40, CHUNK, CHUNK + 7, 2 * CHUNK + 5];
        let len = 2 * CHUNK + 19;
        let mut numbers = Numbers::new(1);
        let (p, g, m) = (numbers.vector(len), numbers.vector(len), numbers.vector(len));
        let v: Vec<f32> = numbers.vector(len).iter().map(|x| x * x).collect();
        let e = numbers.vector(len);
        let (mut p1, mut m1, mut v1, mut e1) = (p.clone(), m.clone(), v.clone(), e.clone());
        let (mut m2, mut v2) = (m.clone(), v.clone());
        let vectors = AdamWVectors {
            gradient: &g,
            moment_1: &mut m1,
            moment_2: &mut v1,
            average: Some(&mut e1),
        };
        adamw(&mut p1, vectors, &borders, &FACTORS);
        let vectors =
            AdamWVectors { gradient: &g, moment_1: &mut m2, moment_2: &mut v2, average: None };
        assert_eq!(adamw_of_copy(&p, vectors, &borders, &FACTORS), p1);

        let f = FACTORS;
        let wide = f64::from;
        let mut expected = [vec![], vec![], vec![], vec![]];
        for i in 0..len {
            let decayed = borders.iter().filter(|&&border| border <= i).count() % 2 == 1;
            let decay = if decayed { wide(f.decay) } else { 0.0 };
            let g = wide(g[i]) * wide(f.gradient_scale);
            let m = wide(f.beta_1) * wide(m[i]) + (1.0 - wide(f.beta_1)) * g;
            let v = wide(f.beta_2) * wide(v[i]) + (1.0 - wide(f.beta_2)) * g * g;
            let deviation = (v * wide(f.correction_2)).sqrt() + wide(f.epsilon);
            let step = wide(f.learning_rate) * m * wide(f.correction_1) / deviation;
            let p = wide(p[i]) * (1.0 - decay) - step;
            let e = wide(f.average_decay) * wide(e[i]) + (1.0 - wide(f.average_decay)) * p;
            for (list, value) in expected.iter_mut().zip([p, m, v, e]) {
                list.push(value);
            }
        }
        for (found, expected) in [&p1, &m1, &v1, &e1].into_iter().zip(&expected) {
            assert_close(found, expected, 2e-6);
        }
    }

    #[test]
    fn an_average_without_decay_is_a_copy() {
        let mut parameters = vec![1.0, 2.0];
        let (mut m, mut v, mut average) = (vec![0.0; 2], vec![0.0; 2], vec![7.0; 2]);
        let vectors = AdamWVectors {
            gradient: &[1.0, -1.0],
            moment_1: &mut m,
            moment_2: &mut v,
            average: Some(&mut average),
        };
        adamw(&mut parameters, vectors, &[], &AdamWFactors { average_decay: 0.0, ..FACTORS });
        assert_eq!(average, parameters);
    }

    #[test]
    fn the_norm_is_that_of_all_elements() {
        let values = Numbers::new(2).vector(3 * CHUNK + 11);
        let expected: f64 = values.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        let found = squared_norm(&values);
        assert!((found / expected - 1.0).abs() < 1e-6, "{found} {expected}");
    }
}
