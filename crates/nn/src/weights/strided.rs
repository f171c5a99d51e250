/// Whether the elements of a view follow each other in the order of its shape.
pub(super) fn is_contiguous(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1usize;
    shape.iter().zip(strides).rev().all(|(&size, &stride)| {
        let fits = size <= 1 || stride == expected;
        expected = expected.saturating_mul(size);
        fits
    })
}

/// The number of elements of the storage, from the view's first on, that a view of at least one
/// element looks at.
pub(super) fn reach(shape: &[usize], strides: &[usize]) -> usize {
    1 + shape.iter().zip(strides).map(|(&size, &stride)| (size - 1) * stride).sum::<usize>()
}

/// The elements of a view of at least one element, in the order of its shape.
pub(super) fn gather(storage: &[f32], shape: &[usize], strides: &[usize]) -> Vec<f32> {
    let count = shape.iter().product();
    let mut values = Vec::with_capacity(count);
    let mut position = vec![0; shape.len()];
    let mut at = 0;
    for _ in 0..count {
        values.push(storage[at]);
        for axis in (0..shape.len()).rev() {
            at += strides[axis];
            position[axis] += 1;
            if position[axis] < shape[axis] {
                break;
            }
            at -= strides[axis] * shape[axis];
            position[axis] = 0;
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::{gather, is_contiguous, reach};

    #[test]
    fn only_the_order_of_the_shape_is_contiguous() {
        assert!(is_contiguous(&[2, 3], &[3, 1]));
        assert!(is_contiguous(&[2, 1, 3], &[3, 99, 1]), "one element has no next one");
        assert!(is_contiguous(&[], &[]));
        assert!(!is_contiguous(&[2, 3], &[1, 2]));
        assert!(!is_contiguous(&[2, 3], &[4, 1]));
        assert!(!is_contiguous(&[2], &[0]));
    }

    #[test]
    fn every_second_column_of_a_transpose() {
        let storage: Vec<f32> = (0..12).map(|value| value as f32).collect();
        // Of [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]].
        let (shape, strides) = ([2, 3], [2, 4]);
        assert_eq!(reach(&shape, &strides), 11);
        assert_eq!(gather(&storage, &shape, &strides), [0.0, 4.0, 8.0, 2.0, 6.0, 10.0]);
    }
}
