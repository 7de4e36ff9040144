//! Masks of dropout, a bit for each number.

use std::ops::Range;

use rayon::prelude::*;

use crate::vectorised;

/// Numbers that a word of a mask has the bits of.
const WORD: usize = u64::BITS as usize;

/// Numbers that are taken together in a word.
const LANES: usize = 16;

/// Which numbers of some rows, such as the images of a batch, are kept, and what they are multiplied by.
#[derive(Clone, Debug, PartialEq)]
pub struct Mask {
    row: usize,
    factor: f32,
    /// A row begins with a word, its first number with the lowest bit.
    words: Vec<u64>,
}

impl Mask {
    /// A mask of so many rows of `row` numbers. `draw` is given each row's number, and its words, whose bits
    /// say which numbers are kept, from the lowest bit of the first word on; those behind the last number
    /// are not looked at.
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

    /// The mask that multiplies rows of `row` numbers by these: by zero, or all others by the same.
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

    /// All of it.
    pub fn rows(&self) -> MaskRows<'_> {
        MaskRows { row: self.row, factor: self.factor, words: &self.words }
    }
}

/// Some rows of a [`Mask`].
#[derive(Clone, Copy, Debug)]
pub struct MaskRows<'a> {
    row: usize,
    factor: f32,
    words: &'a [u64],
}

impl<'a> MaskRows<'a> {
    /// Words of a row.
    pub fn words_of_row(&self) -> usize {
        self.row.div_ceil(WORD)
    }

    /// Numbers of a row.
    pub fn row(&self) -> usize {
        self.row
    }

    /// Row after row, the bits that say what is kept. A row begins with a word, its first number with the
    /// lowest bit.
    pub fn words(&self) -> &'a [u64] {
        self.words
    }

    /// Some of these rows.
    pub fn some(self, rows: Range<usize>) -> Self {
        let words = &self.words[rows.start * self.words_of_row()..rows.end * self.words_of_row()];
        Self { words, ..self }
    }

    /// Numbers that it has a factor for.
    pub fn numbers(&self) -> usize {
        self.words.len() / self.words_of_row().max(1) * self.row
    }

    /// What is kept is multiplied by this.
    pub fn factor(&self) -> f32 {
        self.factor
    }

    /// Whether a number of a row is kept.
    #[inline(always)]
    pub fn keeps(&self, row: usize, number: usize) -> bool {
        self.words[row * self.words_of_row() + number / WORD] >> (number % WORD) & 1 != 0
    }

    /// What each number is multiplied by.
    pub fn factors(&self) -> Vec<f32> {
        let mut factors = vec![0.0; self.numbers()];
        self.apply(&vec![1.0; self.numbers()], &mut factors);
        factors
    }

    /// Writes what it makes of numbers.
    ///
    /// # Panics
    ///
    /// Panics if they are not as many as its [`numbers`](Self::numbers).
    pub fn apply(&self, numbers: &[f32], output: &mut [f32]) {
        assert_eq!([numbers.len(), output.len()], [self.numbers(); 2], "numbers of a mask");
        let row = self.row.max(1);
        let rows = output.par_chunks_exact_mut(row).zip(numbers.par_chunks_exact(row));
        rows.zip(self.by_row()).for_each(|((output, numbers), words)| {
            keep(words, numbers, self.factor, output);
        });
    }

    fn by_row(&self) -> impl IndexedParallelIterator<Item = &'a [u64]> {
        self.words.par_chunks_exact(self.words_of_row().max(1))
    }
}

vectorised! {
    fn keep<'a>(words: &'a [u64], numbers: &'a [f32], factor: f32, output: &'a mut [f32]) -> () {
        let parts = numbers.chunks(WORD).zip(output.chunks_mut(WORD));
        for (&word, (numbers, output)) in words.iter().zip(parts) {
            let some = numbers.chunks(LANES).zip(output.chunks_mut(LANES)).enumerate();
            for (part, (numbers, output)) in some {
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

    /// Every third number of a row is kept, whatever the row's length.
    #[test]
    fn bits_say_what_is_kept() {
        for (rows, row) in [(1, 1), (3, 63), (2, 64), (4, 65), (2, 200), (0, 5), (3, 0)] {
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
    fn some_rows_are_those_of_the_whole() {
        let factors: Vec<f32> =
            (0..5 * 70).map(|index| if index % 7 < 3 { 2.0 } else { 0.0 }).collect();
        let mask = Mask::of(70, &factors);
        let some = mask.rows().some(1..4);
        assert_eq!(some.factors(), factors[70..4 * 70]);
        assert_eq!(some.factor(), 2.0);
        for row in 0..3 {
            for number in 0..70 {
                assert_eq!(some.keeps(row, number), factors[(row + 1) * 70 + number] != 0.0);
            }
        }
    }
}
