/// How a matrix lies in memory, of those ways that cuBLASLt can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Layout {
    /// Elements from a row (column, if transposed) to the next.
    pub(crate) stride: i64,
    /// Whether its columns are what lies together in memory.
    pub(crate) transposed: bool,
}

impl Layout {
    /// Of a matrix of this shape and these strides, if its rows or its columns lie together in memory.
    pub(crate) fn of([rows, columns]: [usize; 2], [down, across]: [usize; 2]) -> Option<Self> {
        let of = |transposed: bool| move |stride| Self { stride, transposed };
        let by_rows = stride_of_lines([rows, columns], [down, across]).map(of(false));
        by_rows.or_else(|| stride_of_lines([columns, rows], [across, down]).map(of(true)))
    }

    /// Of a matrix with rows of so many elements, one behind the other.
    pub(crate) fn contiguous(columns: usize) -> Self {
        Self { stride: columns as i64, transposed: false }
    }
}

/// Elements from a line to the next, if each lies together and they don't overlap. The stride of an axis of
/// one element says nothing.
fn stride_of_lines([lines, length]: [usize; 2], [apart, within]: [usize; 2]) -> Option<i64> {
    let shortest = length.max(1);
    let stride = if lines == 1 { shortest } else { apart };
    let lies_together = length == 1 || within == 1;
    (lies_together && stride >= shortest).then_some(stride as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_rows(stride: i64) -> Option<Layout> {
        Some(Layout { stride, transposed: false })
    }

    fn by_columns(stride: i64) -> Option<Layout> {
        Some(Layout { stride, transposed: true })
    }

    #[test]
    fn rows_may_be_padded() {
        assert_eq!(Layout::of([3, 5], [5, 1]), Some(Layout::contiguous(5)));
        assert_eq!(Layout::of([3, 5], [8, 1]), by_rows(8));
    }

    #[test]
    fn columns_may_be_padded() {
        assert_eq!(Layout::of([3, 5], [1, 3]), by_columns(3));
        assert_eq!(Layout::of([3, 5], [1, 4]), by_columns(4));
    }

    #[test]
    fn the_stride_of_a_single_row_does_not_count() {
        for stride in [0, 1, 5, 100] {
            assert_eq!(Layout::of([1, 5], [stride, 1]), by_rows(5));
        }
        assert_eq!(Layout::of([1, 5], [1, 7]), by_columns(7), "a row of a matrix by columns");
    }

    #[test]
    fn the_stride_within_rows_of_one_element_does_not_count() {
        for stride in [0, 1, 3, 100] {
            assert_eq!(Layout::of([3, 1], [4, stride]), by_rows(4));
        }
    }

    #[test]
    fn one_element_can_have_any_strides() {
        assert_eq!(Layout::of([1, 1], [0, 0]), by_rows(1));
        assert_eq!(Layout::of([1, 1], [7, 9]), by_rows(1));
    }

    #[test]
    fn what_is_repeated_is_copied_first() {
        assert_eq!(Layout::of([3, 5], [0, 1]), None, "a repeated row");
        assert_eq!(Layout::of([3, 5], [1, 0]), None, "a repeated column");
        assert_eq!(Layout::of([3, 1], [0, 1]), None, "a repeated element, below each other");
        assert_eq!(Layout::of([1, 5], [1, 0]), None, "a repeated element, beside each other");
    }

    #[test]
    fn what_lies_together_neither_way_is_copied_first() {
        assert_eq!(Layout::of([3, 5], [10, 2]), None, "every second column");
        assert_eq!(Layout::of([3, 5], [4, 1]), None, "overlapping rows");
        assert_eq!(Layout::of([3, 5], [1, 2]), None, "overlapping columns");
    }

    #[test]
    fn an_empty_matrix_has_a_stride() {
        assert_eq!(Layout::of([3, 0], [1, 1]), by_rows(1));
        assert_eq!(Layout::of([1, 0], [0, 1]), by_rows(1));
    }
}
