//! The sums of a plane, which the inner loops write with additional numbers between the rows.

use crate::stored_float::StoredFloat;
use lasnn_core::vectorised;

/// The sums of a plane.
#[derive(Clone, Copy)]
pub(super) struct Sums<'a> {
    pub sums: &'a [f32],
    /// The distance between the starts of two rows.
    pub pitch: usize,
    /// The number of sums of a row.
    pub columns: usize,
}

vectorised! {
    /// Writes the sums plus `bias` to a contiguous plane.
    pub(super) fn write_sums<'a, N: StoredFloat>(
        plane: &'a mut [N],
        sums: Sums<'a>,
        bias: f32,
        relu: bool,
    ) -> () {
        let Sums { sums, pitch, columns } = sums;
        for (row, sums) in plane.chunks_exact_mut(columns).zip(sums.chunks(pitch)) {
            for (value, &sum) in row.iter_mut().zip(sums) {
                let sum = sum + bias;
                // `max` would replace NaN by zero and hide it.
                *value = N::from_f32(if relu && sum < 0.0 { 0.0 } else { sum });
            }
        }
    }
}

vectorised! {
    /// Adds the sums to a contiguous plane.
    pub(super) fn add_sums<'a>(plane: &'a mut [f32], sums: Sums<'a>) -> () {
        let Sums { sums, pitch, columns } = sums;
        for (row, sums) in plane.chunks_exact_mut(columns).zip(sums.chunks(pitch)) {
            for (value, &sum) in row.iter_mut().zip(sums) {
                *value += sum;
            }
        }
    }
}
