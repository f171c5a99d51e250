use std::ops::Range;

/// Where a candidate's number stands in the number of its noise. There is room for more texts than
/// anybody generates, and for more candidates than a request may have.
const CANDIDATE_SHIFT: u32 = 48;

/// Texts that are sampled together, with their candidates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch {
    /// Index of the first text.
    pub(crate) first: usize,
    /// Number of texts.
    pub(crate) texts: usize,
    /// Candidates of each text.
    pub(crate) candidates: usize,
}

impl Batch {
    pub(crate) fn texts(self) -> Range<usize> {
        self.first..self.first + self.texts
    }

    /// The number of latents: those of the first text's candidates, then those of the second's, ..
    pub(crate) fn rows(self) -> usize {
        self.texts * self.candidates
    }

    /// The text that each row is for.
    pub(crate) fn text_of_rows(self) -> impl Iterator<Item = usize> {
        self.texts().flat_map(move |text| std::iter::repeat_n(text, self.candidates))
    }

    /// A number for each row that depends on nothing but its text and its candidate: that of the first
    /// candidate is the text's.
    pub(crate) fn streams(self) -> impl Iterator<Item = u64> {
        self.texts().flat_map(move |text| {
            (0..self.candidates as u64)
                .map(move |candidate| (text as u64).wrapping_add(candidate << CANDIDATE_SHIFT))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_candidates_number_is_its_own_whatever_the_batch() {
        let whole = Batch { first: 0, texts: 40, candidates: 5 };
        let numbers: Vec<u64> = whole.streams().collect();
        assert_eq!(numbers.iter().collect::<HashSet<_>>().len(), whole.rows());
        let part = Batch { first: 7, texts: 3, candidates: 2 };
        for (row, number) in part.streams().enumerate() {
            assert_eq!(number, numbers[(7 + row / 2) * 5 + row % 2]);
        }
        let alone = Batch { first: 0, texts: 40, candidates: 1 };
        assert_eq!(alone.streams().collect::<Vec<_>>(), (0..40).collect::<Vec<u64>>());
        assert_eq!(part.text_of_rows().collect::<Vec<_>>(), [7, 7, 8, 8, 9, 9]);
    }
}
