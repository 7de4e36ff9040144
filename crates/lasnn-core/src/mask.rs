//! Dropout masks, stored as one bit for each element.
//!
//! A mask has rows, one for each image of a batch. Each row begins with a new 64-bit word, and the
//! first element of a row has the lowest bit of its first word.

use std::ops::Range;

use rayon::prelude::*;

use crate::vectorised;

/// Elements whose bits one word holds.
const WORD: usize = u64::BITS as usize;

/// Elements of a word that the inner loop multiplies at once.
const LANES: usize = 16;

/// Multiplies each element by zero or by one common factor.
#[derive(Clone, Debug, PartialEq)]
pub struct Mask {
    row: usize,
    factor: f32,
    words: Vec<u64>,
}

impl Mask {
    /// A mask of `rows` rows with `row` elements each.
    ///
    /// `draw` receives the number of a row and the words of that row, and sets the bits of the
    /// elements that the mask keeps. Bits after the last element of a row are ignored. Rows are
    /// drawn by several threads.
    pub fn new(
        [rows, row]: [usize; 2],
        factor: f32,
        draw: impl Fn(usize, &mut [u64]) + Sync,
    ) -> Self {
        let of_row = row.div_ceil(WORD);
        let mut words = vec![0; rows * of_row];
        let parts = words.par_chunks_exact_mut(of_row.max(1)).enumerate();
        parts.for_each(|(number, words)| draw(number, words));
        Self { row, factor, words }
    }

    /// The mask that multiplies by `factors`, in rows of `row` elements.
    ///
    /// The factors that are not zero must all have the same value; the first one is used.
    pub fn of(row: usize, factors: &[f32]) -> Self {
        let factor = factors.iter().copied().find(|&factor| factor != 0.0).unwrap_or(1.0);
        Self::new([factors.len() / row.max(1), row], factor, |number, words| {
            let row = &factors[number * row..][..row];
            for (word, factors) in words.iter_mut().zip(row.chunks(WORD)) {
                let bits = factors.iter().enumerate();
                *word = bits.fold(0, |word, (bit, &f)| word | u64::from(f != 0.0) << bit);
            }
        })
    }

    /// A view of all rows.
    pub fn rows(&self) -> MaskRows<'_> {
        MaskRows { row: self.row, factor: self.factor, words: &self.words }
    }
}

/// A view of consecutive rows of a [`Mask`].
#[derive(Clone, Copy, Debug)]
pub struct MaskRows<'a> {
    row: usize,
    factor: f32,
    words: &'a [u64],
}

impl<'a> MaskRows<'a> {
    /// The number of words of a row.
    pub fn words_of_row(&self) -> usize {
        self.row.div_ceil(WORD)
    }

    /// The number of elements of a row.
    pub fn row(&self) -> usize {
        self.row
    }

    /// The words of all rows; a bit is set if the mask keeps the element.
    pub fn words(&self) -> &'a [u64] {
        self.words
    }

    /// The rows in `rows`.
    ///
    /// # Panics
    ///
    /// Panics if there are fewer rows.
    pub fn slice(self, rows: Range<usize>) -> Self {
        let words = &self.words[rows.start * self.words_of_row()..rows.end * self.words_of_row()];
        Self { words, ..self }
    }

    /// The number of elements of all rows.
    pub fn numbers(&self) -> usize {
        self.words.len() / self.words_of_row().max(1) * self.row
    }

    /// The factor of the elements that the mask keeps.
    pub fn factor(&self) -> f32 {
        self.factor
    }

    /// Whether the mask keeps element `number` of row `row`.
    #[inline(always)]
    pub fn keeps(&self, row: usize, number: usize) -> bool {
        self.words[row * self.words_of_row() + number / WORD] >> (number % WORD) & 1 != 0
    }

    /// The factor of each element.
    pub fn factors(&self) -> Vec<f32> {
        let mut factors = vec![0.0; self.numbers()];
        self.apply(&vec![1.0; self.numbers()], &mut factors);
        factors
    }

    /// Writes each element of `numbers` times its factor to `output`.
    ///
    /// # Panics
    ///
    /// Panics if a slice does not have [`numbers`](Self::numbers) elements.
    pub fn apply(&self, numbers: &[f32], output: &mut [f32]) {
        assert_eq!([numbers.len(), output.len()], [self.numbers(); 2], "elements of a mask");
        let row = self.row.max(1);
        let rows = output.par_chunks_exact_mut(row).zip(numbers.par_chunks_exact(row));
        rows.zip(self.by_row()).for_each(|((output, numbers), words)| {
            apply_row(words, numbers, self.factor, output);
        });
    }

    fn by_row(&self) -> impl IndexedParallelIterator<Item = &'a [u64]> {
        self.words.par_chunks_exact(self.words_of_row().max(1))
    }
}

vectorised! {
    fn apply_row<'a>(
        words: &'a [u64],
        numbers: &'a [f32],
        factor: f32,
        output: &'a mut [f32],
    ) -> () {
        let parts = numbers.chunks(WORD).zip(output.chunks_mut(WORD));
        for (&word, (numbers, output)) in words.iter().zip(parts) {
            let parts = numbers.chunks(LANES).zip(output.chunks_mut(LANES)).enumerate();
            for (part, (numbers, output)) in parts {
                let bits = (word >> (part * LANES)) as u32;
                for (lane, (output, &number)) in output.iter_mut().zip(numbers).enumerate() {
                    *output = if bits >> lane & 1 != 0 { number * factor } else { 0.0 };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_bits_keep_elements_in_rows_of_any_length() {
        for (rows, row) in [(1, 1), (3, 63), (2, 64), (4, 65), (2, 200), (0, 5), (3, 0)] {
            // Keeps every third element of a row.
            let draw = |_: usize, words: &mut [u64]| {
                for (index, word) in words.iter_mut().enumerate() {
                    let kept = (0..WORD).filter(|bit| (index * WORD + bit).is_multiple_of(3));
                    *word = kept.fold(0, |word, bit| word | 1 << bit);
                }
            };
            let mask = Mask::new([rows, row], 1.5, draw);
            let numbers: Vec<f32> = (1..=rows * row).map(|number| number as f32).collect();
            let mut output = vec![f32::NAN; numbers.len()];
            mask.rows().apply(&numbers, &mut output);
            let factors: Vec<f32> =
                (0..rows * row).map(|index| if index % row % 3 == 0 { 1.5 } else { 0.0 }).collect();
            let expected: Vec<f32> = numbers.iter().zip(&factors).map(|(n, f)| n * f).collect();
            assert_eq!(output, expected, "{rows} rows of {row}");
            assert_eq!(mask.rows().factors(), factors);
            assert_eq!(Mask::of(row, &factors).rows().factors(), factors);
        }
    }

    #[test]
    fn a_slice_has_the_factors_of_its_rows() {
        let factors: Vec<f32> =
            (0..5 * 70).map(|index| if index % 7 < 3 { 2.0 } else { 0.0 }).collect();
        let mask = Mask::of(70, &factors);
        let slice = mask.rows().slice(1..4);
        assert_eq!(slice.factors(), factors[70..4 * 70]);
        assert_eq!(slice.factor(), 2.0);
        for row in 0..3 {
            for number in 0..70 {
                assert_eq!(slice.keeps(row, number), factors[(row + 1) * 70 + number] != 0.0);
            }
        }
    }
}
